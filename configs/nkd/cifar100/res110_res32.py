_base_ = ['../../_base_/pairs/cifar100/res110_res32.py', '../../_base_/methods/nkd.py']
model = _base_.method
