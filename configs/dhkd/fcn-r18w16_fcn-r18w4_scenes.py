_base_ = [
    '../_base_/pairs/fcn-r18w16_fcn-r18w4_scenes.py',
    '../_base_/methods/dhkd_seg.py',
]
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
