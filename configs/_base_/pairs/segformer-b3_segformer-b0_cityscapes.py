_base_ = '../../baseline/segformer-b0_cityscapes.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::segformer/segformer_mit-b3_8xb1-160k_cityscapes-1024x1024.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/'
        'segformer_mit-b3_8x1_1024x1024_160k_cityscapes/'
        'segformer_mit-b3_8x1_1024x1024_160k_cityscapes_20211206_224823-a8f8a177.pth',
    ),
)
default_hooks = dict(
    # 81.94 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=81.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
