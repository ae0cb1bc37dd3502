_base_ = '../../baseline/stdc1_cityscapes.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/'
        'pspnet_r101-d8_512x1024_80k_cityscapes/'
        'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth',
    ),
)
default_hooks = dict(
    # 79.76 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=79.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
