_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/ctkd.py']
model = _base_.method
model.losses.ctkd.loss_weight = 1.0
custom_hooks = [dict(type='mmkd_logit.CurriculumHook', length=2)]
