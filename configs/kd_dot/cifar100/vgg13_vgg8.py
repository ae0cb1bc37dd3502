_base_ = ['../../_base_/pairs/cifar100/vgg13_vgg8.py', '../../_base_/methods/kd.py']
model = _base_.method
optim_wrapper = dict(type='mmkd_logit.DOTOptimWrapper', delta=0.075)
