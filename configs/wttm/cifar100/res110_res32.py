_base_ = ['../../_base_/pairs/cifar100/res110_res32.py', '../../_base_/methods/wttm.py']
model = _base_.method
model.losses.wttm.loss_weight = 1.5
