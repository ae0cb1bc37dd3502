_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_wrn16-2.py',
    '../../_base_/methods/mlkd_kendall-tau.py',
]
model = _base_.method
optim_wrapper = dict(optimizer=dict(lr=0.025))
