_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/gkl.py']
model = _base_.method
model.losses.gkl.loss_weight = 0.3
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=3)]
