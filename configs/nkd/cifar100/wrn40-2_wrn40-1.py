_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_wrn40-1.py',
    '../../_base_/methods/nkd.py',
]
model = _base_.method
