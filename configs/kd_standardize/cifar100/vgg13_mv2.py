_base_ = [
    '../../_base_/pairs/cifar100/vgg13_mv2.py',
    '../../_base_/methods/kd_standardize.py',
]
model = _base_.method
model.losses.kd.tau = 3.0
