_base_ = [
    '../_base_/pairs/deeplabv3-r101_pspnet-r18_cityscapes.py',
    '../_base_/methods/mcld_seg.py',
]
model = _base_.method
