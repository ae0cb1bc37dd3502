_base_ = [
    '../../_base_/pairs/cifar100/res56_res20.py',
    '../../_base_/methods/dkd_standardize.py',
]
model = _base_.method
model.losses.dkd.beta = 18.0
