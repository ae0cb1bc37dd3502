"""Configs from the command line, and checks before anything is built."""

from __future__ import annotations

import argparse
import ast
import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import (
    DATASETS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    MODELS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    RUNNERS,
    Registry,
)
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from torch.utils.data import DataLoader

from mmkd_logit.checkpoint import read_checkpoint, weights_of
from mmkd_logit.errors import message_of
from mmkd_logit.flat import containers_in, leaves
from mmkd_logit.models.annotations import check_type
from mmkd_logit.models.settings import (
    check_keys,
    did_you_mean,
    is_distiller,
    parameters_of,
)
from mmkd_logit.tasks import TASKS, task_of_scope

# Keys of the distiller, and of the base that a pair is built from. At the top level of
# a config they have no effect.
_OF_THE_MODEL = (
    'aux_head',
    'kendall_tau_rows',
    'logit_layer',
    'losses',
    'method',
    'resolution',
    'student',
    'task_loss_weight',
    'teacher',
)
LOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'
"""Keys of the data loaders."""
# Keys of a part that mmengine does not pass on to its class, or builds first.
_BUILT_FIRST: dict[str, Any] = {
    '_scope_': Any,
    'batch_sampler': dict | None,
    'batch_size': int,
    'collate_fn': dict | Callable,
    'convert_to_iter_based': bool,
    'dataset': dict,
    'disable_subprocess_warning': bool,
    'loss_scale': Any,
    'num_batch_per_epoch': int | None,
    'num_workers': int,
    'optimizer': dict,
    'paramwise_cfg': dict | None,
    'pipeline': list,
    'priority': Any,
    'sampler': dict,
    'seed': int | None,
    'type': Any,
    'worker_init_fn': dict | None,
}
# Types at the top level that Runners annotate less exactly.
_EXACT_TYPES: dict[str, Any] = {
    'custom_hooks': list[dict] | None,
    'default_scope': str | None,
    'test_evaluator': dict | list[dict] | None,
    'val_evaluator': dict | list[dict] | None,
}
# What mmengine reads at the top level of a config.
_OF_MMENGINE = (
    *(name for name in inspect.signature(Runner).parameters if name != 'cfg'),
    'custom_imports',
    'model_wrapper_cfg',
    'runner_type',
    'strict_load',  # read by LoadFromHook
)


def read_config(args: argparse.Namespace) -> Config:
    """Read the config that the arguments name, and apply their overrides.

    Args:
        args (argparse.Namespace): Those of :func:`add_common_arguments`.

    Returns:
        Config: With ``work_dir`` and ``launcher`` set.

    Raises:
        TypeError: If a part does not take a key, or its value has another type.
        ValueError: If a setting is in a place where it has no effect.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = _read_file(args.config)
    cfg.launcher = args.launcher
    # Leaf configs take their model from it. Setting it without a model has no effect.
    if cfg.pop('method', None) is not None and _assigns(args.config) == {'method'}:
        raise ValueError(
            f"{args.config} sets 'method', which its base has already copied to the "
            'model. Set model instead: model = dict(losses=...).'
        )
    _find_misspelt_names(cfg, args.cfg_options or ())
    if args.cfg_options is not None:
        _override(cfg, args.cfg_options)
    _check_top_level(cfg)
    _refuse_dead_settings(cfg, args.cfg_options or ())
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / config_name(args.config))
    check_parts(cfg)
    task = task_of_scope(cfg.get('default_scope'))
    for name in LOADERS:
        loader = cfg.get(name)
        if task is not None and loader is not None:
            defaults = task.loader_defaults(loader, pin_memory=get_device() != 'cpu')
            cfg[name] = {**defaults, **loader}
    return cfg


def make_config(
    path: str | Path,
    work_dir: str | Path,
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Read a config as the tools do, for a Python program or a notebook.

    Args:
        path (str | Path): The config file.
        work_dir (str | Path): Where logs and checkpoints go.
        options (Mapping[str, Any], optional): Settings to override, by dotted key, such
            as ``{'train_cfg.max_epochs': 5}``. Defaults to None.

    Returns:
        Config: For :func:`build_runner`.

    Raises:
        ValueError: If a setting is in a place where it has no effect.
    """
    return read_config(
        argparse.Namespace(
            config=str(path),
            work_dir=str(work_dir),
            cfg_options=dict(options or {}),
            launcher='none',
            local_rank=0,
        )
    )


def config_name(path: str | Path) -> Path:
    """Return the name of a config: its path below ``configs``, without suffix.

    For a config elsewhere, the name consists of its folder and file. Each folder below
    ``configs`` is a method, which distinguishes configs of the same file name:
    ``kd/cifar100/res56_res20``, ``dhkd/cifar100/res56_res20``.

    Args:
        path (str | Path): The config file.

    Returns:
        Path: A relative path.
    """
    _, *folders, name = Path(path).resolve().with_suffix('').parts
    above = folders[-2::-1]
    below = above.index('configs') + 1 if 'configs' in above else 1
    return Path(*folders[-below:], name)


def _assigns(path: str) -> set[str]:
    """Return which of ``method`` and ``model`` a config file sets itself."""
    if Path(path).suffix != '.py':
        return set()
    tree = ast.parse(Path(path).read_text(encoding='utf-8'))
    names = {
        target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    return names & {'method', 'model'}


def _read_file(path: str) -> Config:
    try:
        return Config.fromfile(path)
    except (AttributeError, KeyError) as error:
        if "'teacher'" in str(error) and '_base_.teacher' in Path(path).read_text():
            raise ValueError(
                f'{path} takes _base_.teacher from a pair, as in older releases. Now '
                'the pairs in configs/_base_/pairs build the distiller: replace the '
                'whole model = dict(_delete_=True, ...) by model = _base_.method.'
            ) from error
        raise


def _find_misspelt_names(cfg: Config, options: Iterable[str]) -> None:
    """Warn of top-level names like one of mmengine's; refuse them as new options."""
    for name in cfg:
        if name not in _OF_MMENGINE and (guess := did_you_mean(name, _OF_MMENGINE)):
            print_log(
                f'Nothing reads {name!r} at the top level of the config. {guess}',
                logger='current',
                level=logging.WARNING,
            )
    for option in options:
        name = option.partition('.')[0]
        if name in cfg or name in _OF_MMENGINE:
            continue
        if guess := did_you_mean(name, _OF_MMENGINE):
            raise ValueError(
                f'--cfg-options sets {option}, but the config has no {name!r}, and '
                f'nothing would read it. {guess}'
            )


def _override(cfg: Config, options: Mapping[str, Any]) -> None:
    try:
        cfg.merge_from_dict(dict(options))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{", ".join(options)} cannot be overridden: {message_of(error)}'
        ) from error


def _check_top_level(cfg: Config) -> None:
    """Check the types of what mmengine reads at the top level, and find NaNs."""
    for key, hint in _EXACT_TYPES.items():
        check_type(hint, cfg.get(key), key)
    runner = runner_class(cfg)
    known = parameters_of(runner).keys() - _EXACT_TYPES.keys()
    check_keys(runner, {k: v for k, v in cfg.items() if k in known}, '')
    level = cfg.get('log_level', 'INFO')
    if not isinstance(logging.getLevelName(level), int):
        raise ValueError(f"log_level must be one such as 'INFO', but got {level!r}.")
    for key, part in containers_in(cfg._cfg_dict):
        if isinstance(part, Mapping) and {'mean', 'std'} <= part.keys():
            for name in ('mean', 'std'):
                check_type(float | list[float] | None, part[name], f'{key}.{name}')
    for key, text in leaves(cfg._cfg_dict):
        if text == 'nan':
            raise ValueError(f'{key} is NaN.')


def runner_class(cfg: Config) -> Any:
    """Return the class of the Runner that a config asks for.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If there is no such class.
    """
    name = cfg.get('runner_type', 'Runner')
    if (runner := _class_of({'type': name}, RUNNERS, cfg)) is None:
        raise ValueError(f'runner_type is {name!r}, which is not registered.')
    return runner


def _refuse_dead_settings(cfg: Config, options: Iterable[str]) -> None:
    """Refuse settings of a distiller at the top level of its config."""
    if not is_distiller(cfg.get('model') or {}):
        return
    set_here = {option.partition('.')[0] for option in options}
    for name in _OF_THE_MODEL:
        path = 'model' if name == 'method' else f'model.{name}'
        if name in set_here:
            raise ValueError(
                f'--cfg-options sets {name!r} at the top level of the config, where '
                f'it has no effect. Set {path} instead.'
            )
        # A config may define its model's parts first, under such names.
        if name in cfg and cfg[name] != cfg.model.get(name):
            print_log(
                f'{name!r} at the top level of the config differs from {path}, '
                f'and has no effect there. To change the model, set {path}.',
                logger='current',
                level=logging.WARNING,
            )


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check that folders of images and labels exist, before anything is built.

    Data that is read from an archive or through a storage backend is left to them.

    Args:
        cfg (Config): As :func:`read_config` returns it.
        loaders (Sequence[str]): Keys of the data loaders that will be used.

    Raises:
        FileNotFoundError: If a folder does not exist. The message says where it is set.
    """
    for name in loaders:
        where = f'{name}.dataset'
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        while dataset.get('dataset') is not None:  # a wrapper, such as RepeatDataset
            where, dataset = f'{where}.dataset', dataset['dataset']
        if _downloads(dataset, cfg.get('default_scope')) or _is_stored(dataset):
            continue
        prefix = dataset.get('data_prefix') or ''
        prefixes = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
        for folder in prefixes:
            if not isinstance(folder, str | None):
                continue  # left to the dataset to check
            path = os.path.join(dataset.get('data_root') or '', folder or '')
            if path and '://' not in path and not Path(path).expanduser().exists():
                kind = dataset_type(dataset, cfg.get('default_scope'))
                source = f' ({url})' if (url := getattr(kind, 'url', '')) else ''
                raise FileNotFoundError(
                    f'The data folder {path!r} of {where} does not exist (looked in '
                    f'{Path.cwd()}). Put the data{source} there, or set '
                    f'{where}.data_root.'
                )


def _downloads(dataset: dict, scope: str | None) -> bool:
    """Return whether a dataset downloads itself, as CIFAR does."""
    kind = dataset_type(dataset, scope)
    parameter = inspect.signature(kind).parameters.get('download') if kind else None
    return parameter is not None and dataset.get('download', parameter.default)


def _is_stored(dataset: dict) -> bool:
    """Return whether a dataset reads from an archive or through a storage backend."""
    if Path(dataset.get('data_root') or '').is_file():
        return True
    arguments = [
        part.get(key)
        for part in (dataset, *(dataset.get('pipeline') or ()))
        if isinstance(part, Mapping)
        for key in ('backend_args', 'file_client_args')
    ]
    named = [each.get('backend') for each in arguments if isinstance(each, Mapping)]
    return any(name not in (None, 'disk', 'local') for name in named)


def dataset_type(dataset: dict, scope: str | None) -> type | None:
    """Return the class of a dataset's config; None if it names none that is known."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    return kind if isinstance(kind, type) else None


def class_names_in(cfg: Config) -> tuple[str, ...] | None:
    """Return the class names that the training set's type defines, such as CIFAR100's.

    Args:
        cfg (Config): A config; its data need not exist.

    Returns:
        tuple[str, ...] | None: None if it defines none, or the config has other
        classes.
    """
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while dataset.get('dataset') is not None:  # a wrapper, such as RepeatDataset
        dataset = dataset['dataset']
    kind = dataset_type(dataset, cfg.get('default_scope'))
    names = getattr(kind, 'METAINFO', {}).get('classes') or ()
    count = (cfg.model.get('head') or {}).get('num_classes')
    changed = dataset.get('classes') or dataset.get('metainfo') or len(names) != count
    return None if changed else tuple(names)


def check_constructor(cfg: Config) -> None:
    """Check that layer-wise learning rates would not be silently ignored.

    Args:
        cfg (Config): As :func:`read_config` returns it.

    Raises:
        ValueError: If the optimizer constructor does not recognize a distiller's
            parameter names.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    constructor = wrapper.get('constructor')
    name = getattr(constructor, '__name__', str(constructor).rpartition('.')[2])
    blind = {each: task for task in TASKS for each in task.blind_constructors}
    if is_distiller(cfg.model) and name in blind:
        raise ValueError(
            f"{blind[name].scope}'s {name} looks for names that begin with 'backbone', "
            "but in a distiller the student's begin with 'student.backbone': every "
            'layer would get the full learning rate. Remove optim_wrapper.constructor '
            'and its paramwise_cfg.'
        )


def check_parts(cfg: Config) -> None:
    """Check the keys of what a Runner consists of, and the types of their values.

    Also of all parts of this package, wherever the config has them.

    Args:
        cfg (Config): The config.

    Raises:
        TypeError: For the first key that a part does not take, or whose value has
            another type.
    """
    for key, settings, class_ in _parts_of(cfg):
        for name, value in settings.items():
            check_type(_BUILT_FIRST.get(name, Any), value, f'{key}.{name}')
        if class_ is not None:
            keys = {k: v for k, v in settings.items() if k not in _BUILT_FIRST}
            if key == 'train_cfg':  # where it chooses the class
                keys.pop('by_epoch', None)
            check_keys(class_, keys, key)


def _parts_of(cfg: Config) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield the parts of a config: key, settings and class, None if unknown."""
    by_epoch = (cfg.get('train_cfg') or {}).get('by_epoch', True)
    training = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    classes = {
        r'custom_hooks\[\d+\]': (HOOKS, None),
        r'default_hooks\.\w+': (HOOKS, None),
        r'log_processor': (LOG_PROCESSORS, LogProcessor),
        r'optim_wrapper': (OPTIM_WRAPPERS, OptimWrapper),
        r'param_scheduler(\[\d+\])*': (PARAM_SCHEDULERS, None),
        r'test_cfg': (LOOPS, TestLoop),
        r'train_cfg': (LOOPS, training),
        r'val_cfg': (LOOPS, ValLoop),
        r'(train|val|test)_dataloader': (None, DataLoader),
        r'(train|val|test)_dataloader(\.dataset)+': (DATASETS, None),
        r'randomness': (None, Runner.set_randomness),
    }
    for key, part in containers_in(cfg._cfg_dict):
        if not isinstance(part, Mapping) or 'constructor' in part:
            continue
        for pattern, (registry, usual) in classes.items():
            if re.fullmatch(pattern, key):
                yield key, part, _class_of(part, registry, cfg) or usual
        if str(part.get('type')).startswith('mmkd_logit.'):
            ours = _class_of(part, MODELS, cfg) or _class_of(part, DATASETS, cfg)
            yield key, part, ours


def _class_of(
    settings: Mapping[str, Any], registry: Registry | None, cfg: Config
) -> Any:
    """Return the class that settings name, None if they name none that is known."""
    named = settings.get('type')
    if registry is None or not isinstance(named, str):
        return named if isinstance(named, type) else None
    with registry.switch_scope_and_registry(cfg.get('default_scope')) as here:
        try:
            return here.get(named)
        except RuntimeError:  # mmengine will refuse it, with its own message
            return None


def check_resume(path: str, model: Mapping[str, Any]) -> None:
    """Check that a run can be resumed from a checkpoint, which is read safely.

    Args:
        path (str): The checkpoint.
        model (dict): Config of the model to be resumed.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read, holds objects that could run code, holds only
            weights, or belongs to a model with other parts.
    """
    checkpoint = read_checkpoint(path)
    lacking = [key for key in ('meta', 'message_hub') if key not in checkpoint]
    if lacking:
        raise ValueError(
            f'{path} holds no {" and no ".join(lacking)}: a run can be resumed only '
            'from a checkpoint that it saved itself, such as epoch_10.pth. To start a '
            f'new run from these weights, use --cfg-options load_from={path} without '
            '--resume.'
        )
    # Other parts have other parameters, which the optimizer's state would not fit.
    names = weights_of(checkpoint, path)
    of_distiller = any(name.startswith('student.') for name in names)
    has_head = any(name.startswith('aux_head.') for name in names)
    needs_head = model.get('aux_head') is not None
    if has_head != needs_head or (of_distiller and not is_distiller(model)):
        part = 'an auxiliary head' if has_head != needs_head else 'a teacher'
        raise ValueError(
            f'{path} holds a model {"without" if needs_head else "with"} {part}, but '
            f'this config has {"one" if needs_head else "none"}: the run was started '
            'with another method. To start a new run from its weights, use '
            f'--cfg-options load_from={path} without --resume.'
        )
