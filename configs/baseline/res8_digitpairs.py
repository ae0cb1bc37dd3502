_base_ = './res20_digitpairs.py'
model = dict(backbone=dict(arch='resnet8'))
