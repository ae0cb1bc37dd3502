"""The reader of pickled checkpoints: a list of what they may hold, nothing else."""

from __future__ import annotations

import math
import pickle
import struct
import tarfile
import zipfile
from collections import Counter, OrderedDict
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import torch

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
# Members of a file of the first torch releases, a tar archive.
_TAR_MEMBERS = {'pickle', 'storages', 'tensors'}
# Booleans, integers, floats, complex numbers, bytes and text.
_PLAIN_KINDS = 'biufcSU'
_HISTORIES = ('_log_history', '_count_history')
# Keys of dicts, and members of sets.
_KEYS = (str, bytes, int, float, type(None))
# Size to which a tensor of fewer numbers may be expanded.
_MOST_REPEATED = 2**24


class RefusedObjectError(pickle.UnpicklingError):
    """Raised if a checkpoint holds something that is not on the list.

    Args:
        name (str): The object, as the file names it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f'{name} is not allowed in a checkpoint')
        self.name = name


def load_pickled(file: IO[bytes], map_location: Any = 'cpu') -> Any:
    """Load weights, and the plain values that mmengine saves with them.

    mmengine's checkpoints contain training logs, a ``HistoryBuffer`` of numpy arrays,
    and numpy values in ``meta``, written by numpy 1 or 2. Files from any torch release
    can be read, even the tar files of the first ones. No code from the file is run.

    Args:
        file (IO[bytes]): The open file, seekable.
        map_location (Any): As in ``torch.load``. Defaults to 'cpu'.

    Returns:
        Any: Its contents.

    Raises:
        RefusedObjectError: If it holds anything else.
    """
    records = None
    file.seek(0)
    if file.read(4) == b'PK\3\4':  # by which torch.load tells them apart, too
        records = _check_zip(file)
    else:
        file.seek(0)
        _check_tar(file)
    file.seek(0)
    # torch's own reader for weights would need numpy's types allowlisted, and lets a
    # file turn them into pointer types; before torch 2.6 they cannot be allowlisted.
    return torch.load(
        file,
        map_location=map_location,
        weights_only=False,
        pickle_module=_pickle_module(records),
    )


def _check_zip(file: IO[bytes]) -> Any:
    """Return torch's own reader of a zip archive, after a check."""
    size = _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    file.seek(0)
    # What this parser sees counts: torch.load uses it, too.
    records = torch._C.PyTorchFileReader(file)
    if 'constants.pkl' in records.get_all_records():
        raise RefusedObjectError('TorchScript')
    # torch writes them uncompressed, so that no small file becomes a large one.
    if any(
        member.compress_type != zipfile.ZIP_STORED
        or member.compress_size != member.file_size
        for member in members
    ) or size < sum(member.file_size for member in members):
        raise RefusedObjectError('a compressed member')
    return records


def _check_directory(file: IO[bytes]) -> int:
    """Return the size of a zip archive, which must end with its only directory.

    Otherwise, two parsers could see different members.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 98))
    tail = file.read()
    entry, locator, entry64 = tail[-22:], tail[-42:-22], tail[-98:-42]
    _, _, _, _, length, offset, comment = struct.unpack('<4s4H2LH', entry)[1:]
    end = size - 22
    is_whole = entry.startswith(b'PK\5\6') and comment == 0
    if locator.startswith(b'PK\6\7'):  # more than 4 GB, or 65,535 members
        end = size - 98
        is_whole &= entry64.startswith(b'PK\6\6')
        is_whole &= struct.unpack('<4sLQL', locator)[2] == end
        length, offset = struct.unpack('<4sQ2H2L4Q', entry64)[-2:]
    if not is_whole or offset + length != end:
        raise pickle.UnpicklingError('its zip directory is not at its end')
    return size


def _check_tar(file: IO[bytes]) -> None:
    """Refuse members of a tar archive that torch would extract as other than files."""
    try:
        with tarfile.open(fileobj=file, mode='r:') as archive:
            members = archive.getmembers()
    except tarfile.TarError:
        return
    for member in members:
        if not member.isreg() or member.issparse() or member.name not in _TAR_MEMBERS:
            raise RefusedObjectError(f'the archive member {member.name!r}')


# Stands in for ``numpy.ndarray``, so that a file cannot call that.
_ArrayType = type('ndarray', (), {})


def _rebuild_array(kind: Any, *_: Any) -> np.ndarray:
    """Return the empty array that a state is given to."""
    if kind is not _ArrayType:
        raise RefusedObjectError('numpy.core.multiarray._reconstruct of another type')
    return np.empty(0, np.int8)


def _rebuild_dtype(code: str, *_: Any) -> np.dtype:
    """Create a numpy dtype, which must not hold pointers."""
    dtype = np.dtype(code if isinstance(code, str) else 'O', False, True)
    if dtype.kind not in _PLAIN_KINDS:
        raise RefusedObjectError(f'numpy.dtype {dtype}')
    return dtype


def _rebuild_scalar(dtype: np.dtype, data: bytes) -> Any:
    """Create a numpy scalar from its bytes."""
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes):
        raise RefusedObjectError('a numpy scalar of other than bytes')
    if len(data) != dtype.itemsize:
        raise RefusedObjectError('a numpy scalar of too few bytes')
    return np.ndarray((), dtype, data or b'\0')[()]


def _check_keys(keys: Any) -> None:
    """Refuse keys that could take forever to hash, or overflow the stack."""
    for key in keys:
        if not isinstance(key, _KEYS):
            raise RefusedObjectError(f'a {type(key).__name__} as a key')


def _rebuild_tensor(
    storage: Any,
    offset: int,
    size: tuple,
    stride: tuple,
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: Any = None,
) -> torch.Tensor:
    """Create a tensor without the hooks that a file may give it."""
    if math.prod(size) > max(storage._size(), _MOST_REPEATED):
        raise RefusedObjectError(f'a tensor of {math.prod(size)} repeated numbers')
    return torch._utils._rebuild_tensor_v2(
        storage, offset, size, stride, requires_grad, OrderedDict(), metadata
    )


def _rebuild_parameter(
    data: torch.Tensor, requires_grad: bool = True, hooks: Any = None
) -> torch.nn.Parameter:
    """Create a parameter without the hooks that a file may give it."""
    return torch.nn.Parameter(data, requires_grad)


def _encode(text: str, encoding: str) -> bytes:
    """Encode text, as pickle protocol 2 writes bytes."""
    if encoding != 'latin1':
        raise RefusedObjectError(f'_codecs.encode to {encoding}')
    return text.encode(encoding)


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
        if owner is HistoryBuffer and name in ('current', 'max', 'mean', 'min'):
            return name  # every buffer has them anyway
        if owner is OneCycle and name in ('_annealing_cos', '_annealing_linear'):
            return getattr(owner, name)
        raise RefusedObjectError(f'{getattr(owner, "__name__", owner)}.{name}')

    known = {
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        'torch._utils._rebuild_tensor': _rebuild_tensor,
        'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
        'torch._utils._rebuild_parameter': _rebuild_parameter,
        'torch.nn.parameter.Parameter': _rebuild_parameter,  # before torch 0.4
        '_codecs.encode': _encode,
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        f'{OneCycleParamScheduler.__module__}.OneCycleParamScheduler': OneCycle,
        # Milestones of mmengine's schedulers.
        'collections.Counter': Counter,
        'numpy.ndarray': _ArrayType,
        'numpy.dtype': _rebuild_dtype,
    }
    for home in ('builtins', '__builtin__'):  # Python 3, and its protocol 2
        known[f'{home}.getattr'] = known_method
        known[f'{home}.complex'] = complex
        known[f'{home}.set'] = set
    for home in ('numpy._core', 'numpy.core'):  # numpy 2, numpy 1
        known[f'{home}.multiarray._reconstruct'] = _rebuild_array
        known[f'{home}.multiarray.scalar'] = _rebuild_scalar
    for first, dtype in _FIRST_DTYPES.items():
        for home in ('torch', 'torch.cuda'):
            for suffix in ('Storage', 'Tensor'):  # torch reads nothing but _dtype
                known[f'{home}.{first}{suffix}'] = SimpleNamespace(_dtype=dtype)
    types = (value for value in vars(torch).values() if isinstance(value, torch.dtype))
    return {**known, **{str(dtype): dtype for dtype in types}}


def _is_plain_dtype_state(dtype: np.dtype, state: Any) -> bool:
    _, _, subtype, names, fields, *size, flags = (*state, 0)[:8]
    # numpy applies a size to text only, and must not change it.
    sizes = [[dtype.itemsize, dtype.alignment]]
    if dtype.kind not in 'SU':
        sizes.append([-1, -1])
    plain = (subtype, names, fields) == (None, None, None)
    return plain and size in sizes and flags in (0, 8)  # 8 marks text


def _set_state(target: Any, state: Any) -> bool:
    """Give a value its state; return False if they are not of a known form.

    The state of a class or function would change the program, that of a dtype or array
    could forge pointers, and so could attributes such as ``__array_interface__``.
    """
    kind = type(target).__name__
    if isinstance(target, np.dtype):
        if not _is_plain_dtype_state(target, state):
            return False
        target.__setstate__(state)  # type: ignore[attr-defined]
    elif isinstance(target, np.ndarray):
        _, shape, dtype, _, data = state
        sizes_known = all(type(side) is int and side >= 0 for side in shape)
        if not (isinstance(dtype, np.dtype) and dtype.kind in _PLAIN_KINDS):
            return False
        size = math.prod(shape) * dtype.itemsize
        if not (sizes_known and type(data) is bytes and len(data) == size):
            return False
        target.__setstate__(state)
    elif type(target) is OrderedDict:  # a state_dict
        if set(state) != {'_metadata'} or not isinstance(state['_metadata'], dict):
            return False
        target._metadata = state['_metadata']  # type: ignore[attr-defined]
    elif kind == 'HistoryBuffer':
        # Its own method would also change a dict that all buffers share.
        histories = [state[name] for name in _HISTORIES]
        plain = all(isinstance(x, np.ndarray) and x.ndim == 1 for x in histories)
        known = {*_HISTORIES, 'max_length', 'statistics_methods'}
        if not plain or type(state['max_length']) is not int or set(state) - known:
            return False
        for name in (*_HISTORIES, 'max_length'):
            setattr(target, name, state[name])
    else:  # before torch 0.4, that of a parameter: requires_grad and hooks
        return isinstance(target, torch.nn.Parameter) and len(state) == 3
    return True


def _pickle_module(records: Any) -> Any:
    """Return a stand-in for ``pickle`` that reads tensors and known objects only.

    Args:
        records (PyTorchFileReader, optional): The archive, if the file is one.
    """
    known = _known_objects()
    unread: set[str] = set()
    base: Any = pickle._Unpickler  # in Python: the one in C cannot be restricted

    class Unpickler(base):
        dispatch = dict(base.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            if f'{module}.{name}' not in known:
                raise RefusedObjectError(f'{module}.{name}')
            return known[f'{module}.{name}']

        def get_extension(self, code: int) -> None:
            raise RefusedObjectError(f'copyreg.{code}')

        def load_reduce(self) -> None:
            function, args = self.stack[-2:]
            if function in (OrderedDict, Counter, set):
                for items in args:
                    pairs = function is OrderedDict and isinstance(items, list | tuple)
                    _check_keys([item[0] for item in items] if pairs else items)
            super().load_reduce()

        def load_build(self) -> None:
            state = self.stack.pop()
            if not _set_state(self.stack[-1], state):
                raise RefusedObjectError(f'a state of {type(self.stack[-1]).__name__}')

        def load_binpersid(self) -> None:
            if records is not None:  # older releases of torch would read past its end
                _, storage, key, _, count = self.stack[-1]
                size = len(records.get_record(f'data/{key}'))
                if size != count * getattr(storage, 'dtype', torch.uint8).itemsize:
                    raise pickle.UnpicklingError(f'the tensor {key} has {size} bytes')
            elif isinstance(self.stack[-1], tuple):  # else that of a tar archive
                unread.add(str(self.stack[-1][2]))
            super().load_binpersid()

        def load_setitem(self) -> None:
            _check_keys(self.stack[-2:-1])
            super().load_setitem()

        def load_setitems(self) -> None:
            _check_keys(self.stack[::2])
            super().load_setitems()

        def load_dict(self) -> None:
            _check_keys(self.stack[::2])
            super().load_dict()

        def load_items(self) -> None:
            _check_keys(self.stack)
            super().load_additems()

        def load_frozenset(self) -> None:
            _check_keys(self.stack)
            super().load_frozenset()

        dispatch[pickle.REDUCE[0]] = load_reduce
        dispatch[pickle.SETITEM[0]] = load_setitem
        dispatch[pickle.SETITEMS[0]] = load_setitems
        dispatch[pickle.DICT[0]] = load_dict
        dispatch[pickle.ADDITEMS[0]] = load_items
        dispatch[pickle.FROZENSET[0]] = load_frozenset
        dispatch[pickle.BUILD[0]] = load_build
        dispatch[pickle.BINPERSID[0]] = load_binpersid

    def load(file: Any, **kwargs: Any) -> Any:
        value = Unpickler(file, **kwargs).load()
        # Older files list their storages last: what is not listed would be random.
        if unread and isinstance(value, list) and not unread.issubset(value):
            raise pickle.UnpicklingError('it lacks the numbers of some tensors')
        return value

    return SimpleNamespace(__name__='safe_pickle', Unpickler=Unpickler, load=load)
