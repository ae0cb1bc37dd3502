_base_ = './res20.py'
model = dict(backbone=dict(arch='resnet8x4'), head=dict(in_channels=256))
