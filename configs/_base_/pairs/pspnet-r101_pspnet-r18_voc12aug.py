_base_ = '../../baseline/pspnet-r18_voc12aug.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::pspnet/pspnet_r101-d8_4xb4-40k_voc12aug-512x512.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/'
        'pspnet_r101-d8_512x512_40k_voc12aug/'
        'pspnet_r101-d8_512x512_40k_voc12aug_20200613_161222-bc933b18.pth',
    ),
)
default_hooks = dict(
    # 78.52 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=78.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
