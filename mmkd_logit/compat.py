"""What differs between the OpenMMLab releases that this package runs on."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

INSTALL_HINT = (
    'mmkd_logit needs an OpenMMLab stack, and none is installed. Install one of '
    'the two, never both:\n'
    '    pip install "mmkd_logit[onedl]"      (maintained forks, current torch)\n'
    '    pip install "mmkd_logit[openmmlab]"  (upstream, torch 2.1)'
)

# The upstream release and the fork's that this one is meant for.
_STACK = {
    'mmengine': ('0.10.7', '0.10.12'),
    'mmpretrain': ('1.2.0', '1.3.6'),
    'mmsegmentation': ('1.2.2', '1.4.2'),
}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_stack() -> None:
    """Warn of a stack that is mixed, or that this release is not meant for."""
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


def register_config_packages() -> None:
    """Let configs inherit ``mmkd_logit::`` and, on the forks, ``mmseg::`` files."""
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    find = Config._get_cfg_path

    def find_without_our_scope(path: str, filename: str) -> tuple[str, str | None]:
        path, scope = find(path, filename)
        return path, None if scope == 'mmkd_logit' else scope

    # mmengine would look for every type of an inherited config in the package that
    # it comes from. Ours hold types of the toolboxes, found by the default scope.
    Config._get_cfg_path = staticmethod(find_without_our_scope)
    MODULE2PACKAGE['mmkd_logit'] = 'mmkd_logit'
    # mmengine asks for the distribution; the fork has another name than upstream,
    # and mmengine finds it by the name of the module.
    if _version('mmsegmentation') is None:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def checkpoint_globals() -> AbstractContextManager:
    """Let ``torch.load(weights_only=True)`` read what mmengine saves.

    Its checkpoints hold training logs next to the weights: a ``HistoryBuffer`` of
    numpy arrays and of its own methods. Nothing here runs code of the file. Before
    torch 2.6 a checkpoint must hold weights and plain values only.
    """
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6):
        return nullcontext()
    from mmengine.logging import HistoryBuffer

    def method_of_buffer(owner: type, name: str) -> Any:
        """``getattr``, for the methods that a ``HistoryBuffer`` lists."""
        if owner is not HistoryBuffer or name.startswith('_'):
            raise UnpicklingError(f'getattr({owner}, {name!r}) is not allowed')
        return getattr(owner, name)

    core = np._core if hasattr(np, '_core') else np.core
    kinds = (np.bool_, np.float32, np.float64, np.int32, np.int64)
    return torch.serialization.safe_globals(
        [
            HistoryBuffer,
            (method_of_buffer, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            core.multiarray._reconstruct,
            core.multiarray.scalar,
            *(type(np.dtype(kind)) for kind in kinds),
        ]
    )
