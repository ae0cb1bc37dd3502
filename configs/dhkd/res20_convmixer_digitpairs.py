_base_ = [
    '../_base_/pairs/res20_convmixer_digitpairs.py',
    '../_base_/methods/dhkd_mlp.py',
]
model = _base_.method
model.losses.dhkd.loss_weight = 0.3
