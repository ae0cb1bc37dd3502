_base_ = [
    '../../_base_/pairs/cifar100/res56_res20.py',
    '../../_base_/methods/mlkd_kendall-tau.py',
]
model = _base_.method
optim_wrapper = dict(optimizer=dict(lr=0.025))
