_base_ = '../dhkd/res20_res8_digits.py'
model = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.model.losses.dhkd.loss_weight,
            head='aux',
        )
    )
)
