_base_ = [
    '../../_base_/pairs/cifar100/res50_mv2.py',
    '../../_base_/methods/kd_standardize.py',
]
model = _base_.method
model.losses.kd.update(tau=3.0, loss_weight=1.0)
