_base_ = [
    '../_base_/pairs/res20_convmixer_digitpairs.py',
    '../_base_/methods/dhkd_mlp.py',
]
model = _base_.method
