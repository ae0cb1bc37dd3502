_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/rld.py']
model = _base_.method
model.losses.rld.loss_weight = 0.1
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=3)]
