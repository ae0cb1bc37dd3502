_base_ = ['../../_base_/pairs/cifar100/vgg13_mv2.py', '../../_base_/methods/gkl.py']
model = _base_.method
model.losses.gkl.update(alpha=4.0, beta=12.0)
