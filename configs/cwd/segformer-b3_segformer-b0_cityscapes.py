_base_ = [
    '../_base_/pairs/segformer-b3_segformer-b0_cityscapes.py',
    '../_base_/methods/cwd_seg.py',
]
model = _base_.method
