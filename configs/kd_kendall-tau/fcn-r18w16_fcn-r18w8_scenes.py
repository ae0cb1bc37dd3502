_base_ = [
    '../_base_/pairs/fcn-r18w16_fcn-r18w8_scenes.py',
    '../_base_/methods/kd_kendall-tau_seg.py',
]
model = _base_.method
model.losses.kd.loss_weight = model.losses.kendall_tau.loss_weight = 0.3
