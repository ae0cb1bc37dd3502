_base_ = './res20.py'
model = dict(
    backbone=dict(_delete_=True, type='mmkd_logit.CIFARMobileNetV2'),
    head=dict(
        in_channels=1280,
        init_cfg=[dict(type='Normal', layer='Linear', std=0.01)],  # the authors'
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
