_base_ = [
    '../_base_/pairs/segformer-b4_segformer-b0_ade20k.py',
    '../_base_/methods/kd_seg.py',
]
model = _base_.method
