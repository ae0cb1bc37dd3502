_base_ = 'mmseg::stdc/stdc1_in1k-pre_4xb12-80k_cityscapes-512x1024.py'
default_hooks = dict(checkpoint=dict(save_best='mIoU', max_keep_ckpts=3))
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=48)
