# Kendall's tau beside DKD, with the weight 1.
_base_ = './dkd_in1k.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=1.0,
        )
    )
)
