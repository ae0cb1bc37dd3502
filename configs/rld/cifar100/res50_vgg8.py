_base_ = ['../../_base_/pairs/cifar100/res50_vgg8.py', '../../_base_/methods/rld.py']
model = _base_.method
