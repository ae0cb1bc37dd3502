_base_ = ['../_base_/pairs/res50_mobilenetv1_in1k.py', '../_base_/methods/rld_in1k.py']
model = _base_.method
model.losses.rld.beta = 2.0
