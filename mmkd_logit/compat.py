"""Differences between the OpenMMLab and torch releases that this package supports."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
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
# Names of the tensor types in files of the first torch releases.
_FIRST_DTYPES = {
    'Byte': torch.uint8,
    'Char': torch.int8,
    'Short': torch.int16,
    'Int': torch.int32,
    'Long': torch.int64,
    'Half': torch.float16,
    'Float': torch.float32,
    'Double': torch.float64,
}
# Booleans, integers, floats, complex numbers, bytes and text.
_PLAIN_KINDS = 'biufcSU'


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


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


class RefusedObjectError(pickle.UnpicklingError):
    """Raised if a checkpoint names an object that the safe reader does not know.

    Args:
        name (str): The object, as the file names it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f'{name} is not allowed in a checkpoint')
        self.name = name


def load_weights_only(path: Path) -> Any:
    """Load weights and the plain values that mmengine saves with them.

    mmengine's checkpoints contain training logs, a ``HistoryBuffer`` of numpy arrays
    and of its own methods, and numpy values in ``meta``, written by numpy 1 or 2. Files
    from any torch release can be read, even the tar files of the first ones. No code
    from the file is run.

    Args:
        path (Path): The file.

    Returns:
        Any: Its contents, on the CPU.

    Raises:
        RefusedObjectError: If it holds anything else.
    """
    # torch's own reader for weights would need numpy's types allowlisted, and lets a
    # file turn them into pointer types; before torch 2.6 they cannot be allowlisted.
    return torch.load(
        path, map_location='cpu', weights_only=False, pickle_module=_safe_pickle()
    )


def _known_objects() -> dict[str, Any]:
    """Return the objects that a checkpoint may name, under all their past names."""
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    class OneCycle:
        """Stand-in for the scheduler, whose state contains one of its functions."""

        _annealing_cos = OneCycleParamScheduler._annealing_cos
        _annealing_linear = OneCycleParamScheduler._annealing_linear

    def known_method(owner: type, name: str) -> Any:
        """Restrict ``getattr`` to methods that training logs and schedulers contain."""
        of_buffer = owner is HistoryBuffer and not name.startswith('_')
        of_scheduler = owner is OneCycle and name.startswith('_annealing')
        if not (of_buffer or of_scheduler):
            raise RefusedObjectError(f'{getattr(owner, "__name__", owner)}.{name}')
        return getattr(owner, name)

    def encode(text: str, encoding: str) -> bytes:
        """Encode text, as pickle protocol 2 writes bytes."""
        if encoding != 'latin1':
            raise RefusedObjectError(f'_codecs.encode to {encoding}')
        return text.encode(encoding)

    def plain_dtype(*args: Any) -> np.dtype:
        """Create a numpy dtype, which must not hold pointers."""
        dtype = np.dtype(*args)
        if dtype.kind not in _PLAIN_KINDS:
            raise RefusedObjectError(f'numpy.dtype {dtype}')
        return dtype

    home = 'numpy.core' if np.__version__.startswith('1.') else 'numpy._core'
    multiarray = import_module(f'{home}.multiarray')
    known = {
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        'torch._utils._rebuild_tensor': torch._utils._rebuild_tensor,
        'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
        'torch._utils._rebuild_parameter': torch._utils._rebuild_parameter,
        'torch.nn.parameter.Parameter': torch.nn.Parameter,  # before torch 0.4
        '_codecs.encode': encode,
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        f'{OneCycleParamScheduler.__module__}.OneCycleParamScheduler': OneCycle,
        # Milestones of mmengine's schedulers.
        'collections.Counter': Counter,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': plain_dtype,
    }
    for name in ('builtins', '__builtin__'):  # Python 3, and its protocol 2
        known[f'{name}.getattr'] = known_method
        for kind in (bytearray, complex, set):
            known[f'{name}.{kind.__name__}'] = kind
    for name in ('numpy._core', 'numpy.core'):  # numpy 2, numpy 1
        known[f'{name}.multiarray._reconstruct'] = multiarray._reconstruct
        known[f'{name}.multiarray.scalar'] = multiarray.scalar
    for first, dtype in _FIRST_DTYPES.items():
        for home in ('torch', 'torch.cuda'):
            for what in ('Storage', 'Tensor'):  # torch reads nothing but _dtype
                known[f'{home}.{first}{what}'] = SimpleNamespace(_dtype=dtype)
    types = (value for value in vars(torch).values() if isinstance(value, torch.dtype))
    return {**known, **{str(dtype): dtype for dtype in types}}


def _is_plain_state(target: Any, state: Any) -> bool:
    """Return whether a value may be given a state, and the state is plain.

    The state of a class or function would change the program, and that of a numpy
    dtype or array could forge pointers.
    """
    if isinstance(target, np.dtype):
        _, _, subtype, names, fields, *size, flags = (*state, 0)[:8]
        sizes = ([-1, -1], [target.itemsize, target.alignment])
        plain = target.kind in _PLAIN_KINDS and (subtype, names, fields) == (None,) * 3
        return plain and size in sizes and flags in (0, 8)  # 8 marks text
    if type(target) is np.ndarray:
        _, _, dtype, _, data = state
        return dtype.kind in _PLAIN_KINDS and isinstance(data, bytes)
    return type(target).__name__ in ('HistoryBuffer', 'OrderedDict', 'Parameter')


def _safe_pickle() -> Any:
    """Return a stand-in for ``pickle`` that reads tensors and known objects only."""
    known = _known_objects()
    base: Any = pickle._Unpickler  # in Python: the one in C cannot be restricted

    class Unpickler(base):
        dispatch = dict(base.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            if f'{module}.{name}' not in known:
                raise RefusedObjectError(f'{module}.{name}')
            return known[f'{module}.{name}']

        def get_extension(self, code: int) -> None:
            raise RefusedObjectError(f'copyreg.{code}')

        def load_build(self) -> None:
            target, state = self.stack[-2:]
            if not _is_plain_state(target, state):
                raise RefusedObjectError(f'a state of {type(target).__name__}')
            super().load_build()

        dispatch[pickle.BUILD[0]] = load_build

    def load(file: Any, **kwargs: Any) -> Any:
        return Unpickler(file, **kwargs).load()

    return SimpleNamespace(__name__='safe_pickle', Unpickler=Unpickler, load=load)
