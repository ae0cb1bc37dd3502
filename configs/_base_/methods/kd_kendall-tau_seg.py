# Kendall's tau beside KD per pixel, with its weight.
_base_ = './kd_seg.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.method.losses.kd.loss_weight,
        )
    )
)
