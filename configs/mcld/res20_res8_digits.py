_base_ = ['../_base_/pairs/res20_res8_digits.py', '../_base_/methods/mcld_digits.py']
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
# MCLD's gradient grows as logits get shorter, and those of mmpretrain's classifier are
# short at first: about 0.1 for ten classes.
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
