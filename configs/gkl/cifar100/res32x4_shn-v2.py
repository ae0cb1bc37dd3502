_base_ = [
    '../../_base_/pairs/cifar100/res32x4_shn-v2.py',
    '../../_base_/methods/gkl.py',
]
model = _base_.method
model.losses.gkl.update(alpha=3.0, beta=12.0)
