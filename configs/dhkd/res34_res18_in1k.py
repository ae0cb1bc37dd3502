_base_ = ['../_base_/pairs/res34_res18_in1k.py', '../_base_/methods/dhkd.py']
model = _base_.method
# Distillation in the first 49 of the 100 epochs, as in the authors' code.
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', end=49)]
