_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_cityscapes.py',
    '../_base_/methods/dhkd_seg.py',
]
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
