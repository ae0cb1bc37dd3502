_base_ = [
    '../../_base_/pairs/cifar100/res32x4_shn-v2.py',
    '../../_base_/methods/mlkd.py',
]
model = _base_.method
