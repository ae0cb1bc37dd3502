_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/gkl.py']
model = _base_.method
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=3)]
