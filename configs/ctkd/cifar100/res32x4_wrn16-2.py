_base_ = [
    '../../_base_/pairs/cifar100/res32x4_wrn16-2.py',
    '../../_base_/methods/ctkd.py',
]
model = _base_.method
