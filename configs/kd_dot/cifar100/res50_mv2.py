_base_ = ['../../_base_/pairs/cifar100/res50_mv2.py', '../../_base_/methods/kd.py']
model = _base_.method
optim_wrapper = dict(type='mmkd_logit.DOTOptimWrapper', delta=0.075)
