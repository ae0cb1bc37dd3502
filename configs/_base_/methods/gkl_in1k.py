# GKL with the settings of its authors on ImageNet, ResNet-34 to ResNet-18.
method = dict(losses=dict(gkl=dict(type='GKLLoss', alpha=1.0, beta=0.5, tau=1.0)))
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=5)]
