# Kendall's tau beside CTKD, with its weight.
_base_ = './ctkd.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.method.losses.ctkd.loss_weight,
        )
    )
)
