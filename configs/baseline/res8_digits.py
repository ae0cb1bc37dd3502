_base_ = './res20_digits.py'
model = dict(backbone=dict(arch='resnet8'))
