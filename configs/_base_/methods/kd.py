# KD with the settings that the papers use on small images.
method = dict(
    task_loss_weight=0.1,
    losses=dict(kd=dict(type='KDLoss', tau=4.0, loss_weight=0.9)),
)
