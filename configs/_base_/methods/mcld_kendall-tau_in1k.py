# Kendall's tau beside MCLD with cross entropy.
_base_ = './mcld_in1k.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=1.0,
        )
    )
)
