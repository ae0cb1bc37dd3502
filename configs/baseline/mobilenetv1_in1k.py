# The papers train it as they do ResNet-18.
_base_ = './res18_in1k.py'
model = dict(
    backbone=dict(_delete_=True, type='mmkd_logit.MobileNetV1'),
    head=dict(
        in_channels=1024,
        init_cfg=None,  # torch's own, as in the released code
    ),
)
