_base_ = 'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py'
default_hooks = dict(checkpoint=dict(save_best='mIoU', max_keep_ckpts=3))
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=16)
