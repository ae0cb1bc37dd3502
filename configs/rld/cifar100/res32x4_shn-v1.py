_base_ = [
    '../../_base_/pairs/cifar100/res32x4_shn-v1.py',
    '../../_base_/methods/rld.py',
]
model = _base_.method
