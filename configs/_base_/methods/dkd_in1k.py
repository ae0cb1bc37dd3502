# DKD with the settings of its authors on ImageNet, ResNet-34 to ResNet-18.
method = dict(losses=dict(dkd=dict(type='DKDLoss', alpha=1.0, beta=0.5, tau=1.0)))
