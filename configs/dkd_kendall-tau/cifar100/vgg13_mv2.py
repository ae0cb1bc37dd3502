_base_ = [
    '../../_base_/pairs/cifar100/vgg13_mv2.py',
    '../../_base_/methods/dkd_kendall-tau.py',
]
model = _base_.method
model.losses.dkd.beta = 6.0
