_base_ = '../kd/res34_res18_in1k.py'
model = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.model.losses.kd.loss_weight,
        )
    )
)
