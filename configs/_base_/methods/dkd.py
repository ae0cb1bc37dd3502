# DKD with the settings of its authors on CIFAR-100; their warm-up is 20 of 240 epochs.
method = dict(losses=dict(dkd=dict(type='DKDLoss', alpha=1.0, beta=8.0, tau=4.0)))
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=20)]
