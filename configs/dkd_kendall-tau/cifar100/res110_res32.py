_base_ = [
    '../../_base_/pairs/cifar100/res110_res32.py',
    '../../_base_/methods/dkd_kendall-tau.py',
]
model = _base_.method
model.losses.dkd.beta = 2.0
