_base_ = [
    '../_base_/pairs/fcn-r18w16_fcn-r18w8_scenes.py',
    '../_base_/methods/dhkd_seg.py',
]
model = _base_.method
model.losses.dhkd.loss_weight = 0.03
