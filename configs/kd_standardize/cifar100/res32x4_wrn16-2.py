_base_ = [
    '../../_base_/pairs/cifar100/res32x4_wrn16-2.py',
    '../../_base_/methods/kd_standardize.py',
]
model = _base_.method
model.losses.kd.tau = 3.0
