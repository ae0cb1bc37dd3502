# WSLD with the settings of its authors on ImageNet.
method = dict(losses=dict(wsld=dict(type='WSLDLoss', tau=2.0, loss_weight=2.5)))
