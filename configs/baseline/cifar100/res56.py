_base_ = './res20.py'
model = dict(backbone=dict(arch='resnet56'))
