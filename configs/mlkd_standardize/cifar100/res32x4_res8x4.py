_base_ = [
    '../../_base_/pairs/cifar100/res32x4_res8x4.py',
    '../../_base_/methods/mlkd_standardize.py',
]
model = _base_.method
optim_wrapper = dict(optimizer=dict(lr=0.025))
