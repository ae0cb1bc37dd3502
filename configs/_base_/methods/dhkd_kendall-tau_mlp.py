# Kendall's tau beside DHKD on its nonlinear auxiliary head, with its weight.
_base_ = './dhkd_mlp.py'
method = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.method.losses.dhkd.loss_weight,
            head='aux',
        )
    )
)
