"""What the command-line tools share: how a config becomes a Runner."""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import DATASETS
from mmengine.runner import Runner

_MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='where logs and checkpoints go; work_dirs/<folder>/<name> of the config '
        'if not set',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as optim_wrapper.optimizer.lr=0.05; '
        'lists as key="[a,b]", without spaces',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    )
    # Older launchers pass the rank as an argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def read_config(args: argparse.Namespace) -> Config:
    """Read the config that the arguments name, and apply what they override.

    Args:
        args (argparse.Namespace): With what :func:`add_common_arguments` adds.

    Returns:
        Config: With ``work_dir`` and ``launcher`` set.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        # The folder is the method: kd/ and dhkd/ hold files of the same name.
        path = Path(args.config)
        cfg.work_dir = str(Path('work_dirs') / path.parent.name / path.stem)
    if cfg.get('default_scope') == 'mmpretrain':
        _fill_in_loaders(cfg)
    return cfg


def _fill_in_loaders(cfg: Config) -> None:
    """What mmpretrain's own tools add to its data loaders, which is faster."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is not None:
            loader.setdefault('pin_memory', get_device() != 'cpu')
            loader.setdefault('persistent_workers', loader.num_workers > 0)
            loader.setdefault('collate_fn', dict(type='default_collate'))


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Raise if a folder of images or labels is missing, before anything is built.

    Args:
        cfg (Config): As :func:`read_config` gives it.
        loaders (Sequence[str]): Keys of the data loaders that will be used.

    Raises:
        FileNotFoundError: If the folder does not exist. It says where it is set.
    """
    for name in loaders:
        where = f'{name}.dataset'
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        while dataset.get('dataset') is not None:  # a wrapper, as RepeatDataset
            where, dataset = f'{where}.dataset', dataset['dataset']
        if _downloads(dataset, cfg.get('default_scope')):
            continue
        prefix = dataset.get('data_prefix') or ''
        prefixes = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
        for folder in prefixes:
            path = os.path.join(dataset.get('data_root') or '', folder or '')
            if path and '://' not in path and not Path(path).expanduser().exists():
                raise FileNotFoundError(
                    f'The data folder {path!r} of {where} does not exist (looked in '
                    f'{Path.cwd()}). Put the data there, or set {where}.data_root.'
                )


def _downloads(dataset: dict, scope: str | None) -> bool:
    """Whether a data set fetches itself, as CIFAR does."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    parameter = inspect.signature(kind).parameters.get('download') if kind else None
    return parameter is not None and dataset.get('download', parameter.default)


def _check_constructor(cfg: Config) -> None:
    """Raise where mmseg would quietly ignore the layer-wise learning rates."""
    name = str(cfg.get('optim_wrapper', {}).get('constructor', '')).rpartition('.')[2]
    distils = str(cfg.model.get('type')).endswith('LogitDistiller')
    if distils and name in (
        'LearningRateDecayOptimizerConstructor',
        'LayerDecayOptimizerConstructor',
    ):
        raise ValueError(
            f"mmseg's {name} goes by names that begin with 'backbone', but in a "
            "distiller the student's begin with 'student.backbone': every layer would "
            'get the full learning rate. Remove optim_wrapper.constructor and its '
            'paramwise_cfg.'
        )


def _drop_hooks(cfg: Config) -> None:
    """Leave out default hooks that are None; mmengine does so for its own only."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in _MMENGINE_HOOKS:
            del hooks[name]


def build_runner(cfg: Config) -> Runner:
    """Build the Runner; several processes work without a GPU too.

    Args:
        cfg (Config): As :func:`read_config` gives it.

    Returns:
        Runner: Of the type that the config asks for.
    """
    _check_constructor(cfg)
    _drop_hooks(cfg)
    if cfg.launcher == 'pytorch' and get_device() == 'cpu':
        # mmengine takes a GPU for granted in both places.
        if not dist.is_initialized():
            dist.init_process_group('gloo')
        if cfg.get('model_wrapper_cfg') is None:
            cfg.model_wrapper_cfg = dict(
                type='MMDistributedDataParallel',
                device_ids=None,
                broadcast_buffers=False,
            )
        _take_plain_bn(cfg.model)
    if 'runner_type' in cfg:
        from mmengine.registry import RUNNERS

        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _take_plain_bn(cfg: Any) -> None:
    """Replace SyncBN by BN: torch has it on GPUs only, and refuses it elsewhere."""
    if isinstance(cfg, dict):
        if cfg.get('type') == 'SyncBN':
            cfg['type'] = 'BN'
        for value in cfg.values():
            _take_plain_bn(value)
    elif isinstance(cfg, list | tuple):
        for value in cfg:
            _take_plain_bn(value)
