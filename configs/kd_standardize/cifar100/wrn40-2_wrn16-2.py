_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_wrn16-2.py',
    '../../_base_/methods/kd_standardize.py',
]
model = _base_.method
