_base_ = '../mcld/res20_res8_digits.py'
model = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=1.0,
        )
    )
)
