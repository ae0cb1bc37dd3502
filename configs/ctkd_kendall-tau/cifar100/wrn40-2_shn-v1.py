_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_shn-v1.py',
    '../../_base_/methods/ctkd_kendall-tau.py',
]
model = _base_.method
