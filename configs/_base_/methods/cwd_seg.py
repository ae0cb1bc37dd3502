# CWD on the logits with the settings of its authors on Cityscapes.
method = dict(losses=dict(cwd=dict(type='CWDLoss', tau=4.0, loss_weight=3.0)))
