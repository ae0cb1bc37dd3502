_base_ = '../../baseline/pspnet-r18_ade20k.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::pspnet/pspnet_r101-d8_4xb4-160k_ade20k-512x512.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/'
        'pspnet_r101-d8_512x512_160k_ade20k/'
        'pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f.pth',
    ),
)
default_hooks = dict(
    # 44.39 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=44.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
