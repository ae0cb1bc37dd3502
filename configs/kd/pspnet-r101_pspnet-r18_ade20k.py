_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_ade20k.py',
    '../_base_/methods/kd_seg.py',
]
model = _base_.method
