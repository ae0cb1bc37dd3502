_base_ = '../../baseline/pspnet-r18_coco-stuff164k.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmseg::pspnet/pspnet_r101-d8_4xb4-320k_coco-stuff164k-512x512.py',
        checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/'
        'pspnet_r101-d8_512x512_4x4_320k_coco-stuff164k/'
        'pspnet_r101-d8_512x512_4x4_320k_coco-stuff164k_20210707_152004-72220c60.pth',
    ),
)
default_hooks = dict(
    # 41.95 is what mmseg publishes for this checkpoint.
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=41.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
