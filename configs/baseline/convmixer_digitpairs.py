_base_ = './res20_digitpairs.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ConvMixer',
        arch=dict(embed_dims=32, depth=4, patch_size=2, kernel_size=3),
        in_channels=1,
    ),
    head=dict(in_channels=32),
)
