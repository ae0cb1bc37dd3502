"""How a config becomes a Runner."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmkd_logit.apis.config import check_constructor
from mmkd_logit.compat import MMENGINE_HOOKS


def _drop_hooks(cfg: Config) -> None:
    """Leave out default hooks that are None; mmengine does so for its own only."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in MMENGINE_HOOKS:
            del hooks[name]


def build_runner(cfg: Config) -> Runner:
    """Build the Runner; several processes work without a GPU too.

    Args:
        cfg (Config): As :func:`read_config` gives it.

    Returns:
        Runner: Of the type that the config asks for.
    """
    check_constructor(cfg)
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
