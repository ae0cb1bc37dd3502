_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_res8x4.py',
    '../../_base_/methods/ctkd_kendall-tau.py',
]
model = _base_.method
