# KD of standardized logits on ImageNet: the full cross entropy of LSKD's config, the
# temperature and the weight of its README.
method = dict(
    losses=dict(
        kd=dict(type='KDLoss', tau=2.0, loss_weight=9.0, transforms=['standardize'])
    )
)
