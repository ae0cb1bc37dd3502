# WSLD with the settings of its authors on CIFAR-100.
method = dict(losses=dict(wsld=dict(type='WSLDLoss', tau=4.0, loss_weight=2.25)))
