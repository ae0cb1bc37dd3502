_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/wttm.py']
model = _base_.method
model.losses.wttm.loss_weight = 0.03
