# GKL with what its authors' code has most often on CIFAR-100, and its warm-up.
method = dict(losses=dict(gkl=dict(type='GKLLoss', alpha=1.0, beta=8.0, tau=4.0)))
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=20)]
