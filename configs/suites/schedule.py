# Learning rates and schedules of the plain student, tried on a part of its images.
_student = '../baseline/res8w8_digitpairs.py'
rows = {
    f'{rate}, {epochs} epochs': dict(
        config=_student,
        options={
            'optim_wrapper.optimizer.lr': rate,
            'train_cfg.max_epochs': epochs,
            'param_scheduler.milestones': milestones,
        },
    )
    for epochs, milestones in ((20, [10, 15, 18]), (40, [20, 30, 36]))
    for rate in (0.1, 0.2, 0.4)
}
options = {
    'train_dataloader.dataset.split': 'fit',
    'val_dataloader.dataset.split': 'val',
}
