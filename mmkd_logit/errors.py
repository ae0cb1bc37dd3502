"""Errors: whether an exception is a mistake of the user, and what it says."""

from __future__ import annotations

import dis
import linecache
import re
import sysconfig
from http.client import HTTPException
from types import TracebackType

# Tools run as __main__.
_OURS = 'mmkd_logit.', '__main__.'
# Networks that a config chooses, as those of the toolboxes.
_NETWORKS = 'mmkd_logit.models.backbones.'
# They check what a config says, build it, and load the data that it names.
_TOOLBOXES = (
    'mmcv.',
    'mmengine.',
    'mmpretrain.',
    'mmseg.',
    'torch.utils.data.',
    _NETWORKS,
)
_BUILDER = 'mmengine.registry.'
_OUTSIDE = HTTPException, ImportError, MemoryError, OSError
# In what torch says of an error in a worker process of a data loader.
_FROM_WORKER = 'Original Traceback'
_NO_MEMORY = 'out of memory', "can't allocate memory"


def is_mistake(error: BaseException) -> bool:
    """Tell a mistake of the user from a bug of this package.

    What decides is whose code the exception comes from. It is a mistake

    * if it is about a file, the network, a missing package or too little memory;
    * if a ``raise`` statement of this package raised it: a deliberate check. Anything
      else that happens in our own code, such as a ``KeyError`` of a lookup or a failed
      ``assert``, is a bug;
    * if a toolbox, or code that a toolbox called, raised it: the config or the data do
      not fit;
    * if code that we called raised it while a part was built from its settings.

    Args:
        error (BaseException): The exception, with its traceback.

    Returns:
        bool: False for a bug.
    """
    error = origin_of(error)
    if is_about_surroundings(error):
        return True
    frames = frames_of(error)
    if is_ours(error):
        return _was_raised(frames[-1]) and not isinstance(error, AssertionError)
    modules = [module_of(frame) for frame in frames]
    callers = [name for name in modules if _is_ours(name) or _is_of_toolbox(name)]
    return bool(callers) and (
        _is_of_toolbox(callers[-1])
        or any(name.startswith(_BUILDER) for name in modules)
    )


def origin_of(error: BaseException) -> BaseException:
    """Return the exception that a toolbox has replaced by another, or itself."""
    frames = frames_of(error)
    if not frames or not _is_of_toolbox(module_of(frames[-1])):
        return error
    replaced = error.__cause__
    if error.__suppress_context__:  # raised from None, or from its cause
        replaced = replaced or error.__context__
    return error if replaced is None else origin_of(replaced)


def is_ours(error: BaseException) -> bool:
    """Return whether code of this package raised an exception."""
    frames = frames_of(error)
    return bool(frames) and _is_ours(module_of(frames[-1]))


def is_about_surroundings(error: BaseException) -> bool:
    """Return whether a file, the network, a package or memory is the matter."""
    return isinstance(error, _OUTSIDE) or _is_about_memory(error)


def failed_in(error: BaseException) -> str:
    """Return where a toolbox failed; empty if this package raised the exception."""
    if is_ours(error) or _FROM_WORKER in str(error):
        return ''
    for frame in reversed(frames_of(error)):
        if _is_of_toolbox(name := module_of(frame)):
            return f'{name}, line {frame.tb_lineno}'
    return ''


def message_of(error: BaseException) -> str:
    """Return what an exception says, with its causes where they say more.

    The messages of this package need no cause: they say what its exceptions said.

    Args:
        error (BaseException): The exception, with its traceback.

    Returns:
        str: Never empty. With the type of the exception unless this package raised it.
    """
    text = _text(error)
    cause = None if is_ours(error) else error.__cause__
    while cause is not None:
        if (reason := _said(cause)) and reason not in text:
            text += f'\n  caused by {_text(cause)}'
        cause = cause.__cause__
    return text


def _text(error: BaseException) -> str:
    text = _said(error)
    if _FROM_WORKER in text:
        _, _, text = text.rstrip().rpartition('\n  ')
        text = text.partition('\n')[2]
        return re.sub(r'^ValueError: ', '', text)
    if text and (is_ours(error) or isinstance(error, _OUTSIDE)):
        return text
    if _is_about_memory(error):
        text += '\nReduce the batch size, such as train_dataloader.batch_size.'
    return f'{type(error).__name__}: {text or _line(error)}{_location(error)}'


def _said(error: BaseException) -> str:
    is_key = isinstance(error, KeyError) and error.args  # Python would quote it
    return str(error.args[0]) if is_key else str(error)


def _line(error: BaseException) -> str:
    """Return the statement that raised an exception."""
    frames = frames_of(error)
    if not frames:
        return 'no message'
    code, number = frames[-1].tb_frame.f_code, frames[-1].tb_lineno
    line = linecache.getline(code.co_filename, number).strip()
    return f'{line or code.co_name} ({code.co_filename}, line {number})'


def _location(error: BaseException) -> str:
    """Return the line at fault if it is in the user's own code, such as a config."""
    frames = frames_of(error)
    if not frames or not str(error):
        return ''
    path, number = frames[-1].tb_frame.f_code.co_filename, frames[-1].tb_lineno
    paths = sysconfig.get_paths()
    libraries = paths['stdlib'], paths['purelib'], paths['platlib'], '<'
    return '' if path.startswith(libraries) else f' ({path}, line {number})'


def frames_of(error: BaseException) -> list[TracebackType]:
    """Return the entries of the traceback of an exception, the outermost first."""
    frames = []
    entry = error.__traceback__
    while entry is not None:
        frames.append(entry)
        entry = entry.tb_next
    return frames


def module_of(frame: TracebackType) -> str:
    """Return the name of the module that an entry of a traceback belongs to."""
    return frame.tb_frame.f_globals.get('__name__', '')


def _is_ours(module: str) -> bool:
    return f'{module}.'.startswith(_OURS) and not module.startswith(_NETWORKS)


def _is_of_toolbox(module: str) -> bool:
    return module.startswith(_TOOLBOXES)


def _was_raised(frame: TracebackType) -> bool:
    """Return whether a frame ended at a ``raise`` or ``assert`` statement."""
    code = frame.tb_frame.f_code.co_code
    return dis.opname[code[frame.tb_lasti]] == 'RAISE_VARARGS'


def _is_about_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in _NO_MEMORY
    )
