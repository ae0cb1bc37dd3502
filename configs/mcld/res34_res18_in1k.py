_base_ = ['../_base_/pairs/res34_res18_in1k.py', '../_base_/methods/mcld_in1k.py']
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
