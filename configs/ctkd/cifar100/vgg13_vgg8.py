_base_ = ['../../_base_/pairs/cifar100/vgg13_vgg8.py', '../../_base_/methods/ctkd.py']
model = _base_.method
