_base_ = [
    '../_base_/pairs/res20_res8w8_digitpairs.py',
    '../_base_/methods/binary-kl-norm.py',
]
model = _base_.method
model.losses.binary_kl.loss_weight = 0.3
