_base_ = './res20_digitpairs.py'
# Half as wide as the ordinary resnet8.
model = dict(backbone=dict(arch='resnet8', widen_factor=0.5), head=dict(in_channels=32))
