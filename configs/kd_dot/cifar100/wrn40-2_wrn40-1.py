_base_ = [
    '../../_base_/pairs/cifar100/wrn40-2_wrn40-1.py',
    '../../_base_/methods/kd.py',
]
model = _base_.method
optim_wrapper = dict(type='mmkd_logit.DOTOptimWrapper', delta=0.075)
