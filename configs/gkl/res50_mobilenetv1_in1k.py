_base_ = ['../_base_/pairs/res50_mobilenetv1_in1k.py', '../_base_/methods/gkl_in1k.py']
model = _base_.method
model.losses.gkl.update(alpha=4.0, beta=1.0)
