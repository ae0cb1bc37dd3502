_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_res8x4.py',
    '../../_base_/methods/mlkd_standardize.py',
]
model = _base_.method
optim_wrapper = dict(optimizer=dict(lr=0.025))
