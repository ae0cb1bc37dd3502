_base_ = './fcn-r18w16_scenes.py'
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    decode_head=dict(in_channels=64, channels=16),
)
# As they were chosen for this student: docs/benchmark.md.
optim_wrapper = dict(optimizer=dict(lr=0.032))
train_cfg = dict(max_iters=300)
param_scheduler = dict(end=300)
