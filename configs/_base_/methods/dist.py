# DIST with the settings of its authors on CIFAR-100.
method = dict(losses=dict(dist=dict(type='DISTLoss', tau=4.0, loss_weight=2.0)))
