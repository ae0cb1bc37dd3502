# Kendall's tau beside DKD, with the weight 1 and DKD's warm-up.
_base_ = './dkd.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=1.0,
        )
    )
)
