# MCLD with the settings of the paper on CIFAR-100: no cross entropy.
method = dict(task_loss_weight=0.0, losses=dict(mcld=dict(type='MCLDLoss', tau=0.2)))
