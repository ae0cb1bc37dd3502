# DHKD on ImageNet, for a teacher and a student of one family.
_base_ = './dhkd.py'
# Distillation in the first 49 of the 100 epochs, as in the authors' code.
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', end=49)]
