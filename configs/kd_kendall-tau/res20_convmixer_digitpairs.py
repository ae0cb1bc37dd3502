_base_ = [
    '../_base_/pairs/res20_convmixer_digitpairs.py',
    '../_base_/methods/kd_kendall-tau.py',
]
model = _base_.method
model.losses.kd.loss_weight = model.losses.kendall_tau.loss_weight = 1.0
