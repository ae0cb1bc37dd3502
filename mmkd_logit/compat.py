"""What differs between the OpenMMLab and torch releases that this package runs on."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

INSTALL_HINT = (
    'mmkd_logit needs an OpenMMLab stack, and none is installed. Install one of '
    'the two, never both:\n'
    '    pip install "mmkd_logit[onedl]"      (maintained forks, current torch)\n'
    '    pip install "mmkd_logit[openmmlab]"  (upstream, torch 2.1; docs/stacks.md)'
)

# The upstream release and the fork's that this one is meant for.
_STACK = {
    'mmengine': ('0.10.7', '0.10.12'),
    'mmpretrain': ('1.2.0', '1.3.6'),
    'mmsegmentation': ('1.2.2', '1.4.2'),
}
# Before it torch.load(weights_only=True) takes no list of further types.
_TAKES_TYPES = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_stack() -> None:
    """Warn of a stack that is mixed, incomplete, or not what this release is for."""
    if _version('mmengine') and not _version('mmcv') and not _version('mmcv-lite'):
        warnings.warn(
            'mmcv is not installed, which the upstream packages need and pip cannot '
            'build for them. Install it with `mim install mmcv==2.1.0`; docs/stacks.md '
            'tells how to build it.',
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


def register_config_packages() -> None:
    """Let configs inherit ``mmkd_logit::`` and, on the forks, ``mmseg::`` files."""
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    find = Config._get_cfg_path

    def find_ours_too(path: str, filename: str) -> tuple[str, str | None]:
        package, found, name = path.partition('::')
        if not found or package != 'mmkd_logit':
            return find(path, filename)
        # mmengine does not see an editable install. And it would look for every type
        # of the inherited config in the package that it comes from: ours hold types of
        # the toolboxes, found by the default scope.
        return str(_our_config(name)), None

    Config._get_cfg_path = staticmethod(find_ours_too)
    MODULE2PACKAGE['mmkd_logit'] = 'mmkd_logit'
    # mmengine asks for the distribution; the fork has another name than upstream,
    # and mmengine finds it by the name of the module.
    if _version('mmsegmentation') is None:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def _our_config(name: str) -> Path:
    """A config of this package by its name, installed or in a checkout."""
    package = Path(__file__).parent
    folders = (package / '.mim' / 'configs', package.parent / 'configs')
    folder = next((each for each in folders if each.is_dir()), folders[0])
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f'mmkd_logit has no config {name!r} (looked in {folder}). Its configs are '
            "named as 'mmkd_logit::_base_/methods/dhkd.py'."
        )
    return folder / name


class RefusedObjectError(pickle.UnpicklingError):
    """A checkpoint names an object that the safe reader does not know.

    Args:
        name (str): The object, as the file names it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f'{name} is not allowed in a checkpoint')
        self.name = name


def load_weights_only(path: Path) -> Any:
    """``torch.load`` for weights and the plain values that mmengine saves with them.

    Its checkpoints hold training logs, a ``HistoryBuffer`` of numpy arrays and of its
    own methods, and numpy values in ``meta``, written by numpy 1 or 2. Nothing here
    runs code of the file.

    Args:
        path (Path): The file.

    Returns:
        Any: What it holds, on the CPU.

    Raises:
        RefusedObjectError: If it holds anything else.
    """
    known = _known_objects()
    if _TAKES_TYPES:
        try:
            with torch.serialization.safe_globals([(v, k) for k, v in known.items()]):
                return torch.load(path, map_location='cpu', weights_only=True)
        except pickle.UnpicklingError:
            pass  # read it again, to name what is refused in the same way everywhere
    pickle_module = _safe_pickle(known)
    return torch.load(
        path, map_location='cpu', weights_only=False, pickle_module=pickle_module
    )


def _known_objects() -> dict[str, Any]:
    """What a checkpoint may name beside tensors, under all names that it has had."""
    from mmengine.logging import HistoryBuffer

    def method_of_buffer(owner: type, name: str) -> Any:
        """``getattr``, for the methods that a ``HistoryBuffer`` lists."""
        if owner is not HistoryBuffer or name.startswith('_'):
            raise RefusedObjectError(f'{getattr(owner, "__name__", owner)}.{name}')
        return getattr(owner, name)

    home = 'numpy.core' if np.__version__.startswith('1.') else 'numpy._core'
    multiarray = import_module(f'{home}.multiarray')
    known = {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        # Milestones of mmengine's schedulers.
        'collections.Counter': Counter,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
    }
    for name in ('builtins', '__builtin__'):  # Python 3, and its protocol 2
        known[f'{name}.getattr'] = method_of_buffer
    for name in ('numpy._core', 'numpy.core'):  # numpy 2, numpy 1
        known[f'{name}.multiarray._reconstruct'] = multiarray._reconstruct
        known[f'{name}.multiarray.scalar'] = multiarray.scalar
    for code in '?bBhHiIlLqQefdgFDGSU':
        kind = type(np.dtype(code))
        known[f'{kind.__module__}.{kind.__qualname__}'] = kind
    return known


def _safe_pickle(known: dict[str, Any]) -> Any:
    """A stand-in for ``pickle`` that unpickles tensors and known objects only."""
    from torch._weights_only_unpickler import _get_allowed_globals

    def encode(text: str, encoding: str) -> bytes:
        """The way of protocol 2 to write bytes."""
        if encoding != 'latin1':
            raise RefusedObjectError(f'_codecs.encode to {encoding}')
        return text.encode(encoding)

    allowed = {**_get_allowed_globals(), '_codecs.encode': encode, **known}
    kinds = tuple({v for v in allowed.values() if isinstance(v, type)} - {type})
    base: Any = pickle._Unpickler  # in Python: the one in C cannot be restricted so

    class Unpickler(base):
        dispatch = dict(base.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            if f'{module}.{name}' not in allowed:
                raise RefusedObjectError(f'{module}.{name}')
            return allowed[f'{module}.{name}']

        def get_extension(self, code: int) -> None:
            raise RefusedObjectError(f'copyreg.{code}')

        def load_build(self) -> None:
            # State of a value; that of a class or function would change the program.
            target = self.stack[-2]
            if not isinstance(target, kinds) or isinstance(target, type):
                raise RefusedObjectError(f'state of {target!r}')
            super().load_build()

        dispatch[pickle.BUILD[0]] = load_build

    def load(file: Any, **kwargs: Any) -> Any:
        return Unpickler(file, **kwargs).load()

    return SimpleNamespace(__name__='safe_pickle', Unpickler=Unpickler, load=load)
