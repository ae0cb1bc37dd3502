_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/nkd.py']
model = _base_.method
model.losses.nkd.loss_weight = 0.3
