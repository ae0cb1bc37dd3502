# Weights of the distillation losses per pixel, on scenes kept for choices: the same
# four for every method, or as many times its authors' where these are far from 1. Where
# the lowest is the best, two lower ones follow.
_base_ = '../_base_/suites/scenes_tune.py'
_weights = (0.1, 0.3, 1.0, 3.0)
_lower = (0.03, 0.01)
_best_at_lowest = ('DHKD', 'CWD')
# By name: the folder, which is also the loss, and the weight that counts as 1.
_methods = {
    'KD': ('kd', 1),
    'DHKD': ('dhkd', 1),
    'MCLD': ('mcld', 1),
    'DIST': ('dist', 1),
    'CWD': ('cwd', 3),
}
teacher = '../baseline/fcn-r18w16_scenes.py'
rows = {
    'plain student': '../baseline/fcn-r18w8_scenes.py',
    **{
        f'{name}, {round(unit * weight, 3)}': dict(
            config=f'../{method}/fcn-r18w16_fcn-r18w8_scenes.py',
            options={f'model.losses.{method}.loss_weight': round(unit * weight, 3)},
        )
        for name, (method, unit) in _methods.items()
        for weight in _weights + (_lower if name in _best_at_lowest else ())
    },
}
