_base_ = [
    '../_base_/pairs/res20_res8w8_digitpairs.py',
    '../_base_/methods/kd_standardize.py',
]
model = _base_.method
model.losses.kd.loss_weight = 9.0
