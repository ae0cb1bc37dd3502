"""Config of the plain student, for use without this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmkd_logit.compat import MMENGINE_HOOKS
from mmkd_logit.models.distillers.config_text import (
    check_types,
    leave_out_programs,
    parse_config,
    write_config,
)
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.views import without_views

_OURS = 'mmkd_logit.'
_LOOPS = ('train', 'val', 'test')
# Keys that concern the run that trained the student, not the student.
_OF_THE_RUN = ('load_from', 'launcher', 'method', 'resume', 'work_dir')


def student_config(cfg: Mapping[str, Any]) -> str:
    """Return the config of the student, without base files and without this package.

    It builds, tests and trains the plain student. Loops over datasets of this package
    are left out, as are its hooks and optimizer wrappers.

    Args:
        cfg (Config | dict): Config of the distiller's run.

    Returns:
        str: The text of a Python config file. If the student's network is from this
        package, it stays, and the first line says so.

    Raises:
        ValueError: If the config is not that of a distiller, or holds what is no plain
            value.
    """
    return _text_of(_plain_student(cfg))


def student_config_of_text(text: str) -> tuple[str, list[str]]:
    """Return the config of the student for the text of a config in a checkpoint.

    Nothing in the text is run, neither now nor when the result is used.

    Args:
        text (str): Config of the distiller's run, as mmengine dumps it.

    Returns:
        tuple[str, list[str]]: The text of a Python config file, and the names that are
        left out because mmengine would import or read what they say.

    Raises:
        ValueError: If the text holds more than plain values, is not the config of a
            distiller, or names types that are not registered.
    """
    values = parse_config(text)
    left_out = leave_out_programs(values)
    try:
        plain = _plain_student(values)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f'The config in the checkpoint is not that of a distillation ({error}). '
            'Pass the config file with --config.'
        ) from error
    check_types(plain)
    return _text_of(plain), left_out


def _text_of(plain: Mapping[str, Any]) -> str:
    note = (
        'it needs mmkd_logit, which defines its network'
        if _is_ours(plain['model'])
        else 'it needs the OpenMMLab packages only'
    )
    return f'# The plain student of a distillation; {note}.\n{write_config(plain)}'


def _plain_student(cfg: Mapping[str, Any]) -> dict[str, Any]:
    if not is_distiller(cfg.get('model') or {}):
        raise ValueError(
            "The config of a student is taken from its distiller's, but the model of "
            f'this config is a {(cfg.get("model") or {}).get("type")}.'
        )
    plain = {
        key: _by_name(value) for key, value in cfg.items() if key not in _OF_THE_RUN
    }
    if plain.get('train_dataloader') is not None:
        plain['train_dataloader'] = without_views(plain['train_dataloader'])
    distiller = plain['model']
    if not isinstance(distiller['student'], Mapping):
        raise ValueError(
            f'model.student is {distiller["student"]!r}, but must be a dict.'
        )
    plain['model'] = distiller['student']
    if distiller.get('data_preprocessor') is not None:
        plain['model'].setdefault('data_preprocessor', distiller['data_preprocessor'])
    for loop in _LOOPS:
        if _is_ours(
            [plain.get(f'{loop}_{part}') for part in ('dataloader', 'evaluator')]
        ):
            for part in ('dataloader', 'cfg', 'evaluator', 'pipeline'):
                plain.pop(f'{loop}_{part}', None)
            if loop == 'train':  # mmengine wants all of them or none
                plain.pop('optim_wrapper', None)
                plain.pop('param_scheduler', None)
    hooks = plain.get('default_hooks') or {}
    plain['default_hooks'] = {
        name: hook
        for name, hook in hooks.items()
        if not _is_ours(hook) and (hook is not None or name in MMENGINE_HOOKS)
    }
    for key in ('custom_hooks', 'custom_imports'):
        if plain.get(key) is None or _is_ours(plain[key]):
            kept = [each for each in plain.pop(key, None) or () if not _is_ours(each)]
            if key == 'custom_hooks' and kept:
                plain[key] = kept
    if wrapper := plain.get('optim_wrapper'):
        if str(wrapper.get('type')).startswith(_OURS):
            amp = 'Amp' in wrapper.pop('type')
            for key in ('scope', 'delta'):
                wrapper.pop(key, None)
            wrapper['type'] = 'AmpOptimWrapper' if amp else 'OptimWrapper'
        paramwise = wrapper.get('paramwise_cfg') or {}
        if paramwise.get('custom_keys'):
            paramwise['custom_keys'] = {
                name.removeprefix('student.'): value
                for name, value in paramwise['custom_keys'].items()
            }
    return plain


def _by_name(value: Any) -> Any:
    """Copy a config, with classes and functions replaced by their names."""
    if isinstance(value, Mapping):
        return {key: _by_name(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        parts = map(_by_name, value)
        return list(parts) if isinstance(value, list) else tuple(parts)
    if callable(value) and hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    return value.item() if isinstance(value, np.generic) else value


def _is_ours(value: Any) -> bool:
    """Return whether a config names a class of this package anywhere."""
    if isinstance(value, Mapping):
        return value.get('_scope_') == 'mmkd_logit' or any(
            map(_is_ours, value.values())
        )
    if isinstance(value, list | tuple):
        return any(map(_is_ours, value))
    return isinstance(value, str) and f'{value}.'.startswith(_OURS)
