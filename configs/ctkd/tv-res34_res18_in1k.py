_base_ = ['../_base_/pairs/tv-res34_res18_in1k.py', '../_base_/methods/ctkd_in1k.py']
model = _base_.method
