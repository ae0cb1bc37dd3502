_base_ = '../../baseline/segformer-b0_ade20k.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/'
        'segformer_mit-b4_512x512_160k_ade20k/'
        'segformer_mit-b4_512x512_160k_ade20k_20210728_183055-7f509d7d.pth',
    ),
)
default_hooks = dict(
    # 48.46 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=48.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
