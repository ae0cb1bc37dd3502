_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_wrn40-1.py',
    '../../_base_/methods/gkl.py',
]
model = _base_.method
model.losses.gkl.beta = 12.0
