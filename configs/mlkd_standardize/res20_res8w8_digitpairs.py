_base_ = [
    '../_base_/pairs/res20_res8w8_digitpairs.py',
    '../_base_/methods/mlkd_standardize.py',
]
model = _base_.method
model.losses.mlkd.loss_weight = model.losses.correlations.loss_weight = 0.9
