# CTKD with the settings of its authors on CIFAR-100.
method = dict(
    task_loss_weight=0.1, losses=dict(ctkd=dict(type='CTKDLoss', loss_weight=0.9))
)
custom_hooks = [dict(type='mmkd_logit.CurriculumHook', length=10)]
