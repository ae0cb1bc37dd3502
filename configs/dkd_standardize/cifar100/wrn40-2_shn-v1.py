_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_shn-v1.py',
    '../../_base_/methods/dkd_standardize.py',
]
model = _base_.method
