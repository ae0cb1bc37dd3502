_base_ = './wrn40-2.py'
model = dict(backbone=dict(widen_factor=1), head=dict(in_channels=64))
