_base_ = '../kd/pspnet-r101_pspnet-r18_cityscapes.py'
model = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=_base_.model.losses.kd.loss_weight,
        )
    )
)
