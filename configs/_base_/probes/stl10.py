# Everything but the student: a linear classifier on frozen features, STL-10 at 32x32.
# SGD, batch, epochs and augmentation are those of the code of HSAKD.
_base_ = '../recipes/cifar100.py'
data_preprocessor = dict(_delete_=True, to_rgb=False)  # else the student's
train_pipeline = [
    dict(type='RandomResizedCrop', scale=32, backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='Resize', scale=(32, 32), backend='pillow'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmkd_logit.STL10',
        data_root='data/stl10',
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmkd_logit.STL10',
        data_root='data/stl10',
        split='test',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=100)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0
    )
)
param_scheduler = dict(milestones=[30, 60, 90])
model = dict(type='mmkd_logit.LinearProbe', num_classes=10)
