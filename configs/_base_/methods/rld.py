# RLD with the settings of its authors on CIFAR-100; their warm-up is 20 of 240 epochs.
method = dict(
    losses=dict(rld=dict(type='RLDLoss', alpha=1.0, beta=8.0, tau=4.0, alpha_tau=1.0))
)
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=20)]
