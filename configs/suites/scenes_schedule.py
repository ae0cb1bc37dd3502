# Learning rates of teacher and plain student, judged on scenes kept for choices.
_base_ = '../_base_/suites/scenes_tune.py'
_tried = {
    'teacher': ('fcn-r18w16', 400, (0.004, 0.008, 0.016)),
    'student': ('fcn-r18w8', 300, (0.008, 0.016, 0.032, 0.064)),
}
rows = {
    f'{name}, {rate}': dict(
        config=f'../baseline/{config}_scenes.py',
        options={
            'optim_wrapper.optimizer.lr': rate,
            'train_cfg.max_iters': iterations,
            'train_cfg.val_interval': iterations,
            'param_scheduler.end': iterations,
        },
    )
    for name, (config, iterations, rates) in _tried.items()
    for rate in rates
}
