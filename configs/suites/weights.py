# Weights of the distillation losses, tried on a part of the training images.
_weights = (0.1, 0.3, 1.0, 3.0)
_methods = {
    'KD': ('kd', 'kd', {}),
    'DHKD': ('dhkd', 'dhkd', {}),
    'DHKD, nonlinear head': ('dhkd', 'dhkd', {'model.aux_head.type': 'MLPLogitHead'}),
    'MCLD, without cross entropy': ('mcld', 'mcld', {}),
    'MCLD': ('mcld', 'mcld', {'model.task_loss_weight': 1.0}),
}
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'plain student': '../baseline/res8w8_digitpairs.py',
    **{
        f'{name}, {weight}': dict(
            config=f'../{folder}/res20_res8w8_digitpairs.py',
            options={**options, f'model.losses.{loss}.loss_weight': weight},
        )
        for name, (folder, loss, options) in _methods.items()
        for weight in _weights
    },
}
seeds = [0, 1]
options = {
    'train_dataloader.dataset.split': 'fit',
    'val_dataloader.dataset.split': 'val',
}
