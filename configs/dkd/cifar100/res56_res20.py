_base_ = ['../../_base_/pairs/cifar100/res56_res20.py', '../../_base_/methods/dkd.py']
model = _base_.method
model.losses.dkd.beta = 2.0
