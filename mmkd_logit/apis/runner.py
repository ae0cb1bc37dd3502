"""Construction of a Runner from a config."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmkd_logit.apis.config import check_constructor, check_hooks
from mmkd_logit.compat import MMENGINE_HOOKS
from mmkd_logit.engine.hooks import ClassCheckHook, LoadFromHook
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.views import takes_views, with_views


def _drop_hooks(cfg: Config) -> None:
    """Drop default hooks that are None; mmengine drops only its own."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in MMENGINE_HOOKS:
            del hooks[name]


def _show_views(cfg: Config) -> None:
    """Let the training set show views if the teacher's settings ask for them."""
    loader = cfg.get('train_dataloader')
    teacher = cfg.model.get('teacher') if is_distiller(cfg.model) else None
    if loader is None or teacher is None or not takes_views(teacher):
        return
    hooks = cfg.get('custom_hooks') or []
    if any('SwitchRecipeHook' in str(hook.get('type')) for hook in hooks):
        raise ValueError(
            'teacher.cache and teacher.views need the same pipeline throughout '
            'training, but SwitchRecipeHook changes it. Remove the hook, or run the '
            'teacher live without views.'
        )
    if (cfg.get('default_hooks') or {}).get('sampler_seed', True) is None:
        raise ValueError(
            'teacher.cache and teacher.views read the epoch from the sampler, where '
            'default_hooks.sampler_seed sets it. Do not set that hook to None.'
        )
    cfg.train_dataloader = with_views(loader, teacher)


def build_runner(cfg: Config) -> Runner:
    """Build the Runner; several processes also work without a GPU.

    The training set shows views if the teacher's settings ask for them. Every
    run has a :class:`ClassCheckHook` and a :class:`LoadFromHook`.

    Args:
        cfg (Config): As :func:`read_config` returns it.

    Returns:
        Runner: A Runner of the type that the config asks for.

    Raises:
        TypeError: If a hook has an unknown key.
        ValueError: If settings of the teacher, the optimizer or the hooks contradict
            each other.
    """
    check_constructor(cfg)
    check_hooks(cfg)
    _show_views(cfg)
    _drop_hooks(cfg)
    if cfg.launcher == 'pytorch' and get_device() == 'cpu':
        # mmengine assumes a GPU in both places.
        if not dist.is_initialized():
            dist.init_process_group('gloo')
        if cfg.get('model_wrapper_cfg') is None:
            cfg.model_wrapper_cfg = dict(
                type='MMDistributedDataParallel',
                device_ids=None,
                broadcast_buffers=False,
            )
        _take_plain_bn(cfg.model)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    for hook in (ClassCheckHook(), LoadFromHook()):
        runner.register_hook(hook)
    return runner


def _take_plain_bn(cfg: Any) -> None:
    """Replace SyncBN by BN: torch supports SyncBN on GPUs only."""
    if isinstance(cfg, dict):
        if cfg.get('type') == 'SyncBN':
            cfg['type'] = 'BN'
        for value in cfg.values():
            _take_plain_bn(value)
    elif isinstance(cfg, list | tuple):
        for value in cfg:
            _take_plain_bn(value)
