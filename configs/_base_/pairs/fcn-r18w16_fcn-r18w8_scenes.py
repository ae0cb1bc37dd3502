# Draw the scenes and train the teacher first:
#   tools/dataset_converters/make_scenes.py data/scenes
#   tools/train.py configs/baseline/fcn-r18w16_scenes.py
_base_ = '../../baseline/fcn-r18w8_scenes.py'
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../baseline/fcn-r18w16_scenes.py',
        checkpoint='work_dirs/baseline/fcn-r18w16_scenes/iter_400.pth',
    ),
)
default_hooks = dict(
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook', metric='mIoU', minimum=50.0),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
