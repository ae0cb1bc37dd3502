_base_ = './res20.py'
model = dict(
    backbone=dict(_delete_=True, type='mmkd_logit.CIFARShuffleNetV2'),
    head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
