_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_coco-stuff164k.py',
    '../_base_/methods/kd_kendall-tau_seg.py',
]
model = _base_.method
