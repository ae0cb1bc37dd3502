_base_ = [
    '../_base_/pairs/res50_mobilenetv1_in1k.py',
    '../_base_/methods/mlkd_kendall-tau_in1k.py',
]
model = _base_.method
