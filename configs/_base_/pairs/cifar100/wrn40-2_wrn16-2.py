# The teacher is trained here first: tools/train.py configs/baseline/cifar100/wrn40-2.py
# Or name mdistiller's wrn_40_2_vanilla/ckpt_epoch_240.pth (75.61 published):
# --cfg-options model.teacher.checkpoint=<path>
_base_ = '../../../baseline/cifar100/wrn16-2.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../../baseline/cifar100/wrn40-2.py',
        checkpoint='work_dirs/baseline/cifar100/wrn40-2/epoch_240.pth',
    ),
)
default_hooks = dict(
    teacher_check=dict(
        type='mmkd_logit.TeacherCheckHook', metric='accuracy/top1', minimum=74.0
    ),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
