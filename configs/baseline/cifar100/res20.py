_base_ = '../../_base_/recipes/cifar100.py'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet20'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=64,
        init_cfg=None,  # torch's own, as the papers' authors have it
        loss=dict(type='CrossEntropyLoss'),
    ),
)
