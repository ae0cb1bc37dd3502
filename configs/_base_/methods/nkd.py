# NKD with the settings of its authors' code on CIFAR-100.
method = dict(losses=dict(nkd=dict(type='NKDLoss', gamma=3.5, tau=3.0)))
