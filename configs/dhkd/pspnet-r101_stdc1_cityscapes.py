_base_ = [
    '../_base_/pairs/pspnet-r101_stdc1_cityscapes.py',
    '../_base_/methods/dhkd_mlp.py',
]
model = _base_.method
