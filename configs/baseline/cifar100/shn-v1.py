_base_ = './res20.py'
model = dict(
    backbone=dict(_delete_=True, type='mmkd_logit.CIFARShuffleNetV1'),
    head=dict(in_channels=960),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
