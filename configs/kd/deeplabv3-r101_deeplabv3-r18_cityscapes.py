_base_ = [
    '../_base_/pairs/deeplabv3-r101_deeplabv3-r18_cityscapes.py',
    '../_base_/methods/kd_seg.py',
]
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
