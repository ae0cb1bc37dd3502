# MLKD, of one view, with the settings of its authors on ImageNet.
method = dict(
    task_loss_weight=0.5,
    losses=dict(
        mlkd=dict(type='MLKDLoss', taus=[1.0, 2.0, 3.0, 5.0, 6.0], loss_weight=0.5)
    ),
)
