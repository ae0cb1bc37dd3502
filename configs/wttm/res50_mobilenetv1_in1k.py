_base_ = ['../_base_/pairs/res50_mobilenetv1_in1k.py', '../_base_/methods/wttm_in1k.py']
model = _base_.method
model.losses.wttm.update(gamma=0.7, loss_weight=3.5)
