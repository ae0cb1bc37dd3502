_base_ = ['../_base_/pairs/tv-res34_res18_in1k.py', '../_base_/methods/dist_in1k.py']
model = _base_.method
optim_wrapper = dict(
    optimizer=dict(nesterov=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
