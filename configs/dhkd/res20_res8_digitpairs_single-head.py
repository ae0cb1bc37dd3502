_base_ = [
    '../_base_/pairs/res20_res8_digitpairs.py',
    '../_base_/methods/binary_kl_single_head.py',
]
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
