_base_ = ['../_base_/pairs/res20_res8w8_digitpairs.py', '../_base_/methods/kd.py']
model = _base_.method
optim_wrapper = dict(type='mmkd_logit.DOTOptimWrapper', delta=0.075)
