_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
default_hooks = dict(checkpoint=dict(save_best='auto', max_keep_ckpts=3))
randomness = dict(seed=0)
