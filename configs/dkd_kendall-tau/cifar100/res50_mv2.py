_base_ = [
    '../../_base_/pairs/cifar100/res50_mv2.py',
    '../../_base_/methods/dkd_kendall-tau.py',
]
model = _base_.method
