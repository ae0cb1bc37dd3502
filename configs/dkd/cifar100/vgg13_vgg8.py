_base_ = ['../../_base_/pairs/cifar100/vgg13_vgg8.py', '../../_base_/methods/dkd.py']
model = _base_.method
model.losses.dkd.beta = 6.0
