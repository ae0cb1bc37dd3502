_base_ = 'mmseg::pspnet/pspnet_r50-d8_4xb4-80k_pascal-context-59-480x480.py'
# ResNet-18 in place of ResNet-50, as in mmseg's PSPNet-R18.
model = dict(
    pretrained='open-mmlab://resnet18_v1c',
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
default_hooks = dict(checkpoint=dict(save_best='mIoU', max_keep_ckpts=3))
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=16)
