_base_ = [
    '../_base_/pairs/fcn-r18w16_fcn-r18w4_scenes.py',
    '../_base_/methods/kd_seg.py',
]
model = _base_.method
