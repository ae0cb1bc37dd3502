# KD per pixel: the full task loss and, as strong, the softmax at temperature 1.
method = dict(losses=dict(kd=dict(type='KDLoss', tau=1.0, loss_weight=1.0)))
