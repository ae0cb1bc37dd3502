# The teacher is trained here first: tools/train.py configs/baseline/cifar100/res110.py
# Or name mdistiller's resnet110_vanilla/ckpt_epoch_240.pth (74.31 published):
# --cfg-options model.teacher.checkpoint=<path>
_base_ = '../../../baseline/cifar100/res32.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../../baseline/cifar100/res110.py',
        checkpoint='work_dirs/baseline/cifar100/res110/epoch_240.pth',
    ),
)
default_hooks = dict(
    teacher_check=dict(
        type='mmkd_logit.TeacherCheckHook', metric='accuracy/top1', minimum=73.0
    ),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
