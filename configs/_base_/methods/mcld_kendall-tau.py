# Kendall's tau beside MCLD.
_base_ = './mcld.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=1.0,
        )
    )
)
