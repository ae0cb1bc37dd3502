"""Differences between the OpenMMLab and torch releases that this package supports."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from mmengine.config import Config

INSTALL_HINT = (
    'mmkd_logit needs an OpenMMLab stack, and none is installed. Install one of '
    'the two, never both:\n'
    '    pip install "mmkd_logit[onedl]"      (maintained forks, current torch)\n'
    '    pip install "mmkd_logit[openmmlab]"  (upstream, torch 2.1; docs/stacks.md)'
)

# The upstream and fork releases that this one is meant for.
_STACK = {
    'mmengine': ('0.10.7', '0.10.12'),
    'mmpretrain': ('1.2.0', '1.3.6'),
    'mmsegmentation': ('1.2.2', '1.4.2'),
}
# Warnings of the stack at its import or start: module, category, beginning of the text.
_NOTICES = (
    (
        'mmcv.cnn.bricks.transformer',
        UserWarning,
        'Fail to import ``MultiScaleDeformableAttention``',
    ),
    # mmseg's own heads call them.
    ('mmseg.models.builder', UserWarning, '``build_loss`` would be deprecated soon'),
    (
        'mmseg.structures.sampler.builder',
        UserWarning,
        '``build_pixel_sampler`` would be deprecated soon',
    ),
    # mmengine always passes it.
    (
        'mmengine.model.wrappers.distributed',
        FutureWarning,
        '`broadcast_buffers` is deprecated',
    ),
)
# Fields of a sample with the path of its image and of its label map.
_FILES = 'img_path', 'seg_map_path'
# Default hooks that mmengine itself leaves out if a config sets them to None.
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def leave_out_multimodal() -> None:
    """Keep mmpretrain from importing its multimodal models where it could not.

    It imports them where pycocotools is installed, but they need transformers 4.
    """
    if int((_version('transformers') or '0').partition('.')[0]) >= 5:
        with suppress(ModuleNotFoundError):  # of mmpretrain, which then is missed later
            from mmpretrain.utils import dependency

            dependency.WITH_MULTIMODAL = False


def check_stack() -> None:
    """Warn about a stack that is mixed, incomplete, or not meant for this release."""
    if _version('mmengine') and not _version('mmcv') and not _version('mmcv-lite'):
        warnings.warn(
            'mmcv is not installed, which the upstream packages need and pip cannot '
            'build for them. Install it with `mim install mmcv==2.1.0`; docs/stacks.md '
            'explains how to build it.',
            stacklevel=2,
        )
    for name, (upstream_meant, fork_meant) in _STACK.items():
        upstream, fork = _version(name), _version(f'onedl-{name}')
        if upstream and fork:
            warnings.warn(
                f'Both {name} {upstream} and onedl-{name} {fork} are installed. They '
                'overwrite each other: uninstall both, then install one stack.',
                stacklevel=2,
            )
        for got, meant in ((upstream, upstream_meant), (fork, fork_meant)):
            if got and got.split('.')[:2] != meant.split('.')[:2]:
                warnings.warn(
                    f'{name} {got} is installed; this release of mmkd_logit is '
                    f'meant for {meant}.',
                    stacklevel=2,
                )


def silence_stack() -> None:
    """Drop notices of the stack that its user can do nothing about.

    One is dropped only if both its text and the module that issues it are listed here.
    """
    from mmengine import logging
    from mmengine.evaluator import metric
    from mmengine.fileio import file_client

    for module, category, text in _NOTICES:
        warnings.filterwarnings('ignore', re.escape(text), category, re.escape(module))

    for where, texts in (
        (file_client, ('"FileClient" will be deprecated', '"HardDiskBackend" is the')),
        # Printed, whatever its level is, by both toolboxes.
        (logging, ('Could not import OneDL',)),
        # mmseg's metrics have none.
        (metric, ('The prefix is not set in metric class IoUMetric',)),
    ):
        where.print_log = _without(where.print_log, texts)


def _without(print_log: Callable, texts: tuple[str, ...]) -> Callable:
    @wraps(print_log)
    def print_others(msg: Any, *args: Any, **kwargs: Any) -> None:
        if not str(msg).startswith(texts):
            print_log(msg, *args, **kwargs)

    return print_others


def name_unreadable_files() -> None:
    """Let data pipelines name the files of a sample that they cannot make."""
    from mmengine.dataset.base_dataset import Compose

    make = Compose.__call__

    @wraps(make)
    def make_or_name(pipeline: Compose, sample: Any) -> dict | None:
        known = sample if isinstance(sample, dict) else {}
        files = [str(known[key]) for key in _FILES if known.get(key)]
        try:
            return make(pipeline, sample)
        except Exception as error:  # image libraries raise anything
            if not files or any(file in str(error) for file in files):
                raise
            raise ValueError(
                f'{" with ".join(map(_with_size, files))} cannot be loaded or '
                f'transformed: {type(error).__name__}: {error}'
            ) from error

    Compose.__call__ = make_or_name


def _with_size(file: str) -> str:
    empty = Path(file).is_file() and Path(file).stat().st_size == 0
    return f'{file} (an empty file)' if empty else file


def register_config_packages() -> None:
    """Let configs inherit ``mmkd_logit::`` and, on the forks, ``mmseg::`` files."""
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    find = Config._get_cfg_path

    def find_ours_too(path: str, filename: str) -> tuple[str, str | None]:
        package, found, name = path.partition('::')
        if not found or package != 'mmkd_logit':
            return find(path, filename)
        # mmengine does not see an editable install. It would also look up every type of
        # the inherited config in the package that it comes from, but ours contain types
        # of the toolboxes, which the default scope finds.
        return str(_our_config(name)), None

    Config._get_cfg_path = staticmethod(find_ours_too)
    MODULE2PACKAGE['mmkd_logit'] = 'mmkd_logit'
    # mmengine looks up the distribution, which has a different name in the fork; it
    # finds that by the name of the module.
    if _version('mmsegmentation') is None:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def run_step_hooks(kind: type[torch.optim.SGD]) -> None:
    """Make an optimizer class run its step hooks.

    Optimizers that are built after torch 2.1 has imported ``torch._dynamo`` do not.

    Args:
        kind (type[SGD]): The optimizer's class.
    """
    called: list[torch.optim.Optimizer] = []
    probe = kind([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    probe.register_step_pre_hook(lambda optimizer, *_: called.append(optimizer))
    probe.step()
    if not called:
        kind.step = kind.profile_hook_step(kind.step)  # type: ignore[method-assign]


def shipped_folder(name: str) -> Path:
    """Return the folder of configs or tools shipped with this package.

    Args:
        name (str): 'configs' or 'tools'.

    Returns:
        Path: The folder, in the installed package or in a checkout.
    """
    package = Path(__file__).resolve().parent
    folders = (package / '.mim' / name, package.parent / name)
    return next((each for each in folders if each.is_dir()), folders[0]).resolve()


def _our_config(name: str) -> Path:
    """Return the path of a config of this package."""
    folder = shipped_folder('configs')
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f'mmkd_logit has no config {name!r} (looked in {folder}). Its configs are '
            "named like 'mmkd_logit::_base_/methods/dhkd.py'."
        )
    return folder / name


def config_from(path: str, what: str) -> Config:
    """Read a config from a file or a package.

    Args:
        path (str): Such as ``'mmpretrain::resnet/resnet34_8xb32_in1k.py'``.
        what (str): Description of the config, for the message.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If it cannot be read.
    """
    from mmengine.config import Config

    try:
        # mmengine resolves 'package::path' in _base_ only.
        if '::' in path:
            return Config.fromstring(f'_base_ = [{path!r}]', '.py')
        return Config.fromfile(path)
    except (OSError, ModuleNotFoundError, KeyError) as error:
        raise FileNotFoundError(
            f'{what} cannot be read (looked in {Path.cwd()}): {error}. Name a file, or '
            "one in a package, such as 'mmpretrain::resnet/resnet34_8xb32_in1k.py'."
        ) from error
