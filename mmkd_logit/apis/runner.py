"""Construction of a Runner from a config."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mmengine
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner

from mmkd_logit.apis.config import check_constructor, runner_class
from mmkd_logit.apis.key_at_fault import naming_key
from mmkd_logit.compat import MMENGINE_HOOKS
from mmkd_logit.engine.hooks import ClassCheckHook, LoadFromHook
from mmkd_logit.lock import only_one_in
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
        ValueError: If settings of the teacher, the optimizer or the hooks contradict
            each other, or a part cannot be built. The message names its key.
    """
    check_constructor(cfg)
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
    plain = runner_class(cfg)
    with naming_key(cfg):
        of_tools: Any = type(plain.__name__, (_OfTools, plain), {})
        runner = of_tools.from_cfg(cfg)
    for hook in (ClassCheckHook(), LoadFromHook()):
        runner.register_hook(hook)
    device = get_device()
    runner.logger.info(
        f'torch {torch.__version__}, mmengine {mmengine.__version__}, '
        f'{torch.cuda.get_device_name() if device == "cuda" else device}, seed '
        f'{runner.seed}; config and environment are in {runner.log_dir}'
    )
    return runner


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint that mmengine saved last in a work dir.

    Args:
        work_dir (str | Path): The folder, which may have been moved or copied since.

    Returns:
        str | None: None if there is none.
    """
    noted = _noted_checkpoint(work_dir)
    return None if noted is None else _beside(work_dir, noted)


def _noted_checkpoint(work_dir: str | Path) -> str | None:
    note = Path(work_dir) / 'last_checkpoint'
    return note.read_text().strip() if note.is_file() else None


def _beside(work_dir: str | Path, path: str) -> str:
    """Return the file of that name in the work dir, if there is one."""
    inside = Path(work_dir).absolute() / Path(path).name
    return str(inside) if inside.is_file() else path


class _OfTools:
    """What the tools add to mmengine's Runners."""

    cfg: Config
    logger: MMLogger
    message_hub: MessageHub
    work_dir: str
    _load_from: str | None
    _resume: bool

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build a logger that writes to the screen only what changes."""
        logger = super().build_logger(*args, **kwargs)  # type: ignore[misc]
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_the_screen)
        return logger

    def train(self) -> Any:
        """Train, alone in the work dir; errors of what is built now name its key."""
        alone = only_one_in(self.work_dir) if is_main_process() else nullcontext()
        with alone, naming_key(self.cfg):
            return super().train()  # type: ignore[misc]

    def test(self) -> Any:
        """Test; errors of what is built only now name its key."""
        with naming_key(self.cfg):
            return super().test()  # type: ignore[misc]

    def load_or_resume(self) -> None:
        """Load or resume; the best checkpoints may have moved with the work dir."""
        if self._resume is True and self._load_from is None:
            self._load_from = latest_checkpoint(self.work_dir)
            noted = _noted_checkpoint(self.work_dir)
            if noted not in (None, self._load_from):
                self.logger.info(
                    f'{self.work_dir} was moved or copied: resuming from '
                    f'{self._load_from}, not from {noted}.'
                )
        super().load_or_resume()  # type: ignore[misc]
        known = self.message_hub.runtime_info
        for key in [key for key in known if key.startswith('best_ckpt')]:
            self.message_hub.update_info(key, _beside(self.work_dir, known[key]))


# How what mmengine logs at the start of a run begins.
_FOR_THE_FILE = (
    'Config:\n',
    'Distributed training is not used, all SyncBatchNorm',
    'Hooks will be executed in the following',
    f'\n{"-" * 60}',
)


def _is_for_the_screen(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FOR_THE_FILE)


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
