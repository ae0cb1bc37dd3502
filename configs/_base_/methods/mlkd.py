# MLKD, of one view, with the settings of its authors on CIFAR-100.
method = dict(
    task_loss_weight=0.1,
    losses=dict(
        mlkd=dict(type='MLKDLoss', taus=[2.0, 3.0, 4.0, 5.0, 6.0], loss_weight=0.9)
    ),
)
