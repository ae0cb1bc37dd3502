# DHKD per pixel, for a teacher and a student of one family.
method = dict(
    aux_head=dict(type='ConvLogitHead'),
    losses=dict(
        dhkd=dict(type='BinaryKLNormLoss', tau=2.0, loss_weight=0.1, head='aux')
    ),
)
