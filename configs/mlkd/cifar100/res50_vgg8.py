_base_ = ['../../_base_/pairs/cifar100/res50_vgg8.py', '../../_base_/methods/mlkd.py']
model = _base_.method
optim_wrapper = dict(optimizer=dict(lr=0.025))
