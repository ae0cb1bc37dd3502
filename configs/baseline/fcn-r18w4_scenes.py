_base_ = './fcn-r18w16_scenes.py'
model = dict(
    backbone=dict(stem_channels=4, base_channels=4),
    decode_head=dict(in_channels=32, channels=8),
)
