_base_ = [
    '../../_base_/pairs/cifar100/res110_res32.py',
    '../../_base_/methods/mcld.py',
]
model = _base_.method
model.task_loss_weight = 1.0
