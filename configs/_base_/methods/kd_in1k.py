# KD with the settings that the papers use on ImageNet.
method = dict(
    task_loss_weight=0.5,
    losses=dict(kd=dict(type='KDLoss', tau=1.0, loss_weight=0.5)),
)
