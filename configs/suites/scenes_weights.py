# Weights of the distillation losses per pixel, on scenes kept for choices.
_base_ = '../_base_/suites/scenes_tune.py'
_weights = (0.1, 0.3, 1.0, 3.0)
_methods = {'KD': 'kd', 'DHKD': 'dhkd', 'MCLD': 'mcld'}
teacher = '../baseline/fcn-r18w16_scenes.py'
rows = {
    'plain student': '../baseline/fcn-r18w8_scenes.py',
    **{
        f'{name}, {weight}': dict(
            config=f'../{method}/fcn-r18w16_fcn-r18w8_scenes.py',
            options={f'model.losses.{method}.loss_weight': weight},
        )
        for name, method in _methods.items()
        for weight in _weights
    },
}
