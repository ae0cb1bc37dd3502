_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_cityscapes.py',
    '../_base_/methods/dist_seg.py',
]
model = _base_.method
