_base_ = [
    '../../_base_/pairs/cifar100/res56_res20.py',
    '../../_base_/methods/ctkd_kendall-tau.py',
]
model = _base_.method
