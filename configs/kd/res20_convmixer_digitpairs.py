_base_ = [
    '../_base_/pairs/res20_convmixer_digitpairs.py',
    '../_base_/methods/kd.py',
]
model = _base_.method
model.losses.kd.loss_weight = 1.0
