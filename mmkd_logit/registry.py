"""Child registries of mmengine's, for ``type='mmkd_logit.LogitDistiller'`` and so on.

The modules are imported when a registry is first used.
"""

from __future__ import annotations

from mmkd_logit.compat import (
    INSTALL_HINT,
    check_stack,
    leave_out_multimodal,
    name_unreadable_files,
    register_config_packages,
    silence_stack,
)

try:
    from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
    from mmengine.registry import DATASETS as MMENGINE_DATASETS
    from mmengine.registry import HOOKS as MMENGINE_HOOKS
    from mmengine.registry import MODELS as MMENGINE_MODELS
    from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
    from mmengine.registry import Registry

    from mmkd_logit.checkpoint import read_for_mmengine
except ModuleNotFoundError as error:
    if error.name != 'mmengine':
        raise
    raise ModuleNotFoundError(INSTALL_HINT, name='mmengine') from error


check_stack()
silence_stack()
leave_out_multimodal()
name_unreadable_files()
register_config_packages()
read_for_mmengine()

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmkd_logit',
    locations=['mmkd_logit.models'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='mmkd_logit',
    locations=['mmkd_logit.engine'],
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmkd_logit',
    locations=['mmkd_logit.engine'],
)
DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope='mmkd_logit',
    locations=['mmkd_logit.datasets'],
)
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    scope='mmkd_logit',
    locations=['mmkd_logit.datasets'],
)
ROW_TRANSFORMS = Registry(
    'row_transform',
    scope='mmkd_logit',
    locations=['mmkd_logit.models'],
)

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'HOOKS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'ROW_TRANSFORMS',
]
