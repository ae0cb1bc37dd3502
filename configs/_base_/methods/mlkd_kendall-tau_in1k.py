# Kendall's tau beside MLKD, with its weight.
_base_ = './mlkd_in1k.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.method.losses.mlkd.loss_weight,
        )
    )
)
