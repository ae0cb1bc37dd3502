_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_wrn16-2.py',
    '../../_base_/methods/gkl.py',
]
model = _base_.method
model.losses.gkl.update(alpha=3.0, beta=20.0)
