_base_ = ['../../_base_/pairs/cifar100/res56_res20.py', '../../_base_/methods/wttm.py']
model = _base_.method
model.losses.wttm.update(gamma=0.3, loss_weight=1.5)
