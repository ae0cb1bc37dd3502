_base_ = [
    '../../_base_/pairs/cifar100/res32x4_wrn40-2.py',
    '../../_base_/methods/dkd.py',
]
model = _base_.method
