_base_ = './wrn16-2.py'
model = dict(backbone=dict(depth=40))
