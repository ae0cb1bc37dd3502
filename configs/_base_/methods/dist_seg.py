# DIST per pixel with the settings of its authors on Cityscapes.
method = dict(losses=dict(dist=dict(type='DISTLoss', tau=1.0, loss_weight=1.0)))
