_base_ = [
    '../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-r18_voc12aug.py',
    '../_base_/methods/kd_kendall-tau_seg.py',
]
model = _base_.method
