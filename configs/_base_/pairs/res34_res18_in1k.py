# SGD, learning rate 0.1 at batch 256, 100 epochs, x0.1 after 30, 60 and 90.
_base_ = '../../baseline/res18_in1k.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmpretrain::resnet/resnet34_8xb32_in1k.py',
        checkpoint='https://mmassets.onedl.ai/mmclassification/v0/resnet/'
        'resnet34_8xb32_in1k_20210831-f257d4e6.pth',
    ),
)
default_hooks = dict(
    # 73.62 is what mmpretrain publishes for this checkpoint.
    teacher_check=dict(
        type='mmkd_logit.TeacherCheckHook', metric='accuracy/top1', minimum=73.0
    ),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
