# DIST with the settings of its authors on ImageNet.
method = dict(losses=dict(dist=dict(type='DISTLoss', tau=1.0, loss_weight=2.0)))
