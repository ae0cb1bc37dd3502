_base_ = ['../_base_/pairs/res50_mobilenetv1_in1k.py', '../_base_/methods/nkd_in1k.py']
model = _base_.method
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
