_base_ = ['../_base_/pairs/res50_mobilenetv1_in1k.py', '../_base_/methods/dhkd_mlp.py']
model = _base_.method
# As from ResNet-34 to ResNet-18.
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', end=49)]
