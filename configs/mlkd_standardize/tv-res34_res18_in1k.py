_base_ = [
    '../_base_/pairs/tv-res34_res18_in1k.py',
    '../_base_/methods/mlkd_standardize_in1k.py',
]
model = _base_.method
optim_wrapper = dict(optimizer=dict(lr=0.05))
