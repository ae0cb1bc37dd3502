_base_ = '../../baseline/deeplabv3plus-r18_ade20k.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::deeplabv3plus/deeplabv3plus_r101-d8_4xb4-160k_ade20k-512x512.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/deeplabv3plus/'
        'deeplabv3plus_r101-d8_512x512_160k_ade20k/'
        'deeplabv3plus_r101-d8_512x512_160k_ade20k_20200615_123232-38ed86bb.pth',
    ),
)
default_hooks = dict(
    # 45.47 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=45.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
