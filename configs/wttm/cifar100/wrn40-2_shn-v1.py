_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_shn-v1.py',
    '../../_base_/methods/wttm.py',
]
model = _base_.method
model.losses.wttm.gamma = 0.3
