# MLKD with its KD terms of standardized logits on ImageNet: LSKD's weight of 9, and 2
# in the place of the temperature 1.
method = dict(
    task_loss_weight=0.5,
    losses=dict(
        mlkd=dict(
            type='MLKDLoss',
            taus=[2.0, 2.0, 3.0, 5.0, 6.0],
            class_correlation=False,
            batch_correlation=False,
            loss_weight=9.0,
            transforms=['standardize'],
        ),
        correlations=dict(
            type='MLKDLoss', taus=[2.0, 2.0, 3.0, 5.0, 6.0], kd=False, loss_weight=9.0
        ),
    ),
)
