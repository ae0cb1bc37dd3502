_base_ = '../mcld/res34_res18_in1k.py'
model = dict(
    losses=dict(
        kendall_tau=dict(
            type='KendallTauLoss',
            k=100.0,
            loss_weight=1.0,
        )
    )
)
