_base_ = [
    '../_base_/pairs/pspnet-r101_stdc1_cityscapes.py',
    '../_base_/methods/kd_seg.py',
]
model = _base_.method
