_base_ = ['../../_base_/pairs/cifar100/res56_res20.py', '../../_base_/methods/nkd.py']
model = _base_.method
