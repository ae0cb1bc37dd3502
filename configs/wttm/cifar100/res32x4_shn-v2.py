_base_ = [
    '../../_base_/pairs/cifar100/res32x4_shn-v2.py',
    '../../_base_/methods/wttm.py',
]
model = _base_.method
model.losses.wttm.update(gamma=0.4, loss_weight=16.0)
