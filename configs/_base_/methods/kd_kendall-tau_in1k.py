# Kendall's tau beside KD, with its weight.
_base_ = './kd_in1k.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.method.losses.kd.loss_weight,
        )
    )
)
