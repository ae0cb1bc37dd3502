_base_ = [
    '../_base_/pairs/deeplabv3-r101_deeplabv3-r18_cityscapes.py',
    '../_base_/methods/mcld_seg.py',
]
model = _base_.method
