_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_cityscapes.py',
    '../_base_/methods/cwd_seg.py',
]
model = _base_.method
model.losses.cwd.update(tau=1.0, loss_weight=5.0)
