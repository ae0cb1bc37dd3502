# DHKD for a teacher and a student of different families; images or pixels.
method = dict(
    aux_head=dict(type='MLPLogitHead'),
    losses=dict(
        dhkd=dict(type='BinaryKLNormLoss', tau=2.0, loss_weight=1.0, head='aux')
    ),
)
