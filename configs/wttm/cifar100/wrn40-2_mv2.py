_base_ = ['../../_base_/pairs/cifar100/wrn40-2_mv2.py', '../../_base_/methods/wttm.py']
model = _base_.method
