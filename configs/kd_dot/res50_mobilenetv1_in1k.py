_base_ = ['../_base_/pairs/res50_mobilenetv1_in1k.py', '../_base_/methods/kd_in1k.py']
model = _base_.method
optim_wrapper = dict(type='mmkd_logit.DOTOptimWrapper', delta=0.09)
