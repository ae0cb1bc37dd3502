_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/dist.py']
model = _base_.method
model.losses.dist.loss_weight = 0.6
