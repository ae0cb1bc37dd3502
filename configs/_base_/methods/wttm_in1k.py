# WTTM with what its authors chose for ResNet-34 to ResNet-18 on ImageNet.
method = dict(losses=dict(wttm=dict(type='WTTMLoss', gamma=0.8, loss_weight=1.6)))
