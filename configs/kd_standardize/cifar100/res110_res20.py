_base_ = [
    '../../_base_/pairs/cifar100/res110_res20.py',
    '../../_base_/methods/kd_standardize.py',
]
model = _base_.method
model.losses.kd.update(tau=4.0, loss_weight=12.0)
