# The teacher is trained here first: tools/train.py configs/baseline/res20_digitpairs.py
_base_ = '../../baseline/res8w8_digitpairs.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../baseline/res20_digitpairs.py',
        checkpoint='work_dirs/baseline/res20_digitpairs/epoch_40.pth',
    ),
)
default_hooks = dict(
    teacher_check=dict(
        type='mmkd_logit.TeacherCheckHook', metric='accuracy/top1', minimum=75.0
    ),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
