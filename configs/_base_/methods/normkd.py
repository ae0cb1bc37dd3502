# NormKD with the settings of its authors on CIFAR-100.
method = dict(
    task_loss_weight=0.1,
    losses=dict(normkd=dict(type='NormKDLoss', tau=2.0, loss_weight=0.9)),
)
