_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_context59.py',
    '../_base_/methods/dhkd_seg.py',
]
model = _base_.method
