_base_ = '../../baseline/pspnet-r18_context59.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::pspnet/pspnet_r101-d8_4xb4-80k_pascal-context-59-480x480.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/'
        'pspnet_r101-d8_480x480_80k_pascal_context_59/'
        'pspnet_r101-d8_480x480_80k_pascal_context_59_20210416_114418-fa6caaa2.pth',
    ),
)
default_hooks = dict(
    # 52.47 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=52.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
