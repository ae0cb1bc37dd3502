_base_ = './res20.py'
model = dict(
    backbone=dict(_delete_=True, type='mmkd_logit.CIFARVGG', arch='vgg8'),
    head=dict(
        in_channels=512,
        init_cfg=[dict(type='Normal', layer='Linear', std=0.01)],  # the authors'
    ),
)
