_base_ = ['../../_base_/pairs/cifar100/vgg13_vgg8.py', '../../_base_/methods/wttm.py']
model = _base_.method
model.losses.wttm.loss_weight = 2.25
