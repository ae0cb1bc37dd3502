# Weights of the distillation losses, tried on a part of the training images: the same
# four for every method, or as many times its authors' where these are far from 1. Where
# the lowest is the best, two lower ones follow.
_weights = (0.1, 0.3, 1.0, 3.0)
_lower = (0.03, 0.01)
_best_at_lowest = ('NormKD', 'WTTM', 'RLD', 'LumiNet', 'MLKD, standardized')
# By name: the folder, the losses, what else is set, and the weight that counts as 1.
_methods = {
    'KD': ('kd', ['kd'], {}, 1),
    'DHKD': ('dhkd', ['dhkd'], {}, 1),
    'DHKD, nonlinear head': (
        'dhkd',
        ['dhkd'],
        {'model.aux_head.type': 'MLPLogitHead'},
        1,
    ),
    'MCLD, without cross entropy': ('mcld', ['mcld'], {}, 1),
    'MCLD': ('mcld', ['mcld'], {'model.task_loss_weight': 1.0}, 1),
    'DKD': ('dkd', ['dkd'], {}, 1),
    'CTKD': ('ctkd', ['ctkd'], {}, 1),
    'MLKD': ('mlkd', ['mlkd'], {}, 1),
    'DIST': ('dist', ['dist'], {}, 2),
    'NKD': ('nkd', ['nkd'], {}, 1),
    'NormKD': ('normkd', ['normkd'], {}, 1),
    'WTTM': ('wttm', ['wttm'], {}, 3),
    'RLD': ('rld', ['rld'], {}, 1),
    'WSLD': ('wsld', ['wsld'], {}, 2.25),
    'GKL': ('gkl', ['gkl'], {}, 1),
    'LumiNet': ('kd_luminet', ['kd'], {}, 68),
    'KD, standardized': ('kd_standardize', ['kd'], {}, 9),
    'DKD, standardized': ('dkd_standardize', ['dkd'], {}, 1),
    'MLKD, standardized': ('mlkd_standardize', ['mlkd', 'correlations'], {}, 9),
}
teacher = '../baseline/res20_digitpairs.py'
rows = {'plain student': '../baseline/res8w8_digitpairs.py'}
for _name, (_folder, _losses, _options, _unit) in _methods.items():
    for _each in _weights + (_lower if _name in _best_at_lowest else ()):
        _weight = round(_unit * _each, 3)
        rows[f'{_name}, {_weight}'] = dict(
            config=f'../{_folder}/res20_res8w8_digitpairs.py',
            options={
                **_options,
                **{f'model.losses.{loss}.loss_weight': _weight for loss in _losses},
            },
        )
seeds = [0, 1]
options = {
    'train_dataloader.dataset.split': 'fit',
    'val_dataloader.dataset.split': 'val',
}
