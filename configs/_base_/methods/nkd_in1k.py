# NKD with the settings of its authors on ImageNet.
method = dict(losses=dict(nkd=dict(type='NKDLoss', gamma=1.5, tau=1.0)))
