# Everything but the student: a linear classifier on frozen features, Tiny-ImageNet at
# 32x32, as STL-10.
_base_ = './stl10.py'
data_preprocessor = dict(to_rgb=True)  # mmcv reads images as BGR
train_pipeline = [dict(type='LoadImageFromFile'), *_base_.train_pipeline]
test_pipeline = [dict(type='LoadImageFromFile'), *_base_.test_pipeline]
train_dataloader = dict(
    dataset=dict(
        type='mmkd_logit.TinyImageNet',
        data_root='data/tiny-imagenet-200',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='mmkd_logit.TinyImageNet',
        data_root='data/tiny-imagenet-200',
        split='val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
model = dict(num_classes=200)
