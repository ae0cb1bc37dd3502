_base_ = ['../../_base_/pairs/cifar100/vgg13_mv2.py', '../../_base_/methods/wttm.py']
model = _base_.method
model.losses.wttm.gamma = 0.2
