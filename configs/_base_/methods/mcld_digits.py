# MCLD without cross entropy; the queue holds as many logits as there are images.
_base_ = './mcld.py'
method = dict(losses=dict(mcld=dict(queue_size=1297)))
