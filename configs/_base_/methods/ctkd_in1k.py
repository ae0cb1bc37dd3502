# CTKD with the settings of its authors on ImageNet.
method = dict(losses=dict(ctkd=dict(type='CTKDLoss', loss_weight=1.0)))
custom_hooks = [dict(type='mmkd_logit.CurriculumHook', length=5)]
