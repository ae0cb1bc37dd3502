# DHKD asks: do cross entropy and a logit-level loss disturb each other on one head?
_watch = {
    'default_hooks.conflict.type': 'mmkd_logit.GradientConflictHook',
    'default_hooks.conflict.interval': 32,  # once per epoch
}
_one_head = '../dhkd/res20_res8w8_digitpairs_single-head.py'
_binary_kl = {'model.losses.binary_kl.type': 'BinaryKLLoss'}

teacher = '../baseline/res20_digitpairs.py'
rows = {
    'CE': '../baseline/res8w8_digitpairs.py',
    'BinaryKL': dict(
        config=_one_head, options={**_binary_kl, 'model.task_loss_weight': 0.0}
    ),
    'CE + BinaryKL, one head': dict(config=_one_head, options={**_binary_kl, **_watch}),
    'CE + BinaryKL-Norm, one head': dict(config=_one_head, options=_watch),
    'CE + BinaryKL-Norm, two heads (DHKD)': dict(
        config='../dhkd/res20_res8w8_digitpairs.py', options=_watch
    ),
}
