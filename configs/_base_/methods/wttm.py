# WTTM with what its authors chose for resnet32x4 to resnet8x4 on CIFAR-100.
method = dict(losses=dict(wttm=dict(type='WTTMLoss', gamma=0.1, loss_weight=3.0)))
