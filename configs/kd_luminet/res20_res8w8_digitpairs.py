_base_ = [
    '../_base_/pairs/res20_res8w8_digitpairs.py',
    '../_base_/methods/kd_luminet.py',
]
model = _base_.method
model.losses.kd.loss_weight = 6.8
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=3)]
