_base_ = [
    '../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-r18_ade20k.py',
    '../_base_/methods/mcld_seg.py',
]
model = _base_.method
