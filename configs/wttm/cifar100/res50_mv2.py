_base_ = ['../../_base_/pairs/cifar100/res50_mv2.py', '../../_base_/methods/wttm.py']
model = _base_.method
model.losses.wttm.update(gamma=0.2, loss_weight=5.0)
