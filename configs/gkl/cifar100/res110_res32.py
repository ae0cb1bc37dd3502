_base_ = ['../../_base_/pairs/cifar100/res110_res32.py', '../../_base_/methods/gkl.py']
model = _base_.method
model.losses.gkl.beta = 4.0
