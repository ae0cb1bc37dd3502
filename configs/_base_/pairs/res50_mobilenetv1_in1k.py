# The papers' teacher is torchvision's; its file is read as it is.
_base_ = '../../baseline/mobilenetv1_in1k.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmpretrain::resnet/resnet50_8xb32_in1k.py',
        checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth',
    ),
)
default_hooks = dict(
    # 76.13 is what torchvision publishes for this checkpoint, 76.16 what papers do.
    teacher_check=dict(
        type='mmkd_logit.TeacherCheckHook', metric='accuracy/top1', minimum=75.5
    ),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
