"""Entry point of the tools: how they end, whatever happens.

Imports nothing but the standard library: ``--help`` must not wait for the stack.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from mmkd_logit.errors import failed_in, is_mistake, message_of

MISTAKE, BUG = 2, 1
"""Exit codes."""
# torch's launcher sets it, and reads from it why a process has failed.
_FOR_LAUNCHER = 'TORCHELASTIC_ERROR_FILE'
_RANKS = 'RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'

_received: list[int] = []


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run the ``main`` of a tool, and exit.

    A mistake of the user, see :func:`mmkd_logit.errors.is_mistake`, ends in one block
    of text on stderr and exit code 2. A bug keeps its traceback, and ends with 1; with
    ``--traceback`` so does a mistake. Ctrl-C and SIGTERM say how to go on, and end with
    130 and 143.

    The processes of ``mmkd_logit.launch`` leave the text to it.

    Args:
        main (Callable): Returns the exit code; None stands for 0.
    """
    is_launched = _FOR_LAUNCHER in os.environ
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if not is_launched:  # else it signals that another process has failed
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = main() or 0
    except KeyboardInterrupt as stop:
        if is_first_process():
            print(str(stop) or 'Stopped.', flush=True)
        code = 128 + (_received or [signal.SIGINT])[0]
    except Exception as error:
        mistake = is_mistake(error)
        code = MISTAKE if mistake else BUG
        text = _block(error) if mistake else ''
        if not mistake or '--traceback' in sys.argv:
            error.__suppress_context__ = False  # mmengine hides where a hook failed
            text = f'{traceback.format_exc()}{text}'
        sys.stdout.flush()
        if is_launched:
            _leave_to_launcher(text)
        else:
            print(text.rstrip(), file=sys.stderr)
    sys.exit(code)


@contextmanager
def resumable(advice: Callable[[], str]) -> Iterator[None]:
    """Say how to go on if Ctrl-C or SIGTERM stops what is done inside.

    Args:
        advice (Callable): Returns the text.
    """
    try:
        yield
    # A signal may also end the workers of a data loader, which is another error.
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) and not _received:
            raise
        raise KeyboardInterrupt(advice()) from error


def is_first_process() -> bool:
    """Return whether this is the first of several processes, or the only one."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), '0') == '0'


def _interrupt(number: int, frame: Any) -> None:
    # It may come again, from a launcher and from the terminal.
    signal.signal(number, signal.SIG_IGN)
    _received.append(number)
    raise KeyboardInterrupt


def _block(error: Exception) -> str:
    """Return what a mistake is, with the config that is at fault."""
    text = message_of(error)
    configs = [x for x in sys.argv[1:] if Path(x).suffix in ('.py', '.yaml', '.yml')]
    if len(configs) > 1 or any(config in text for config in configs):
        configs = []
    if module := failed_in(error):
        text += f' (raised in {module}; --traceback shows more)'
    return f'{": ".join([Path(sys.argv[0]).name, "error", *configs])}: {text}'


def _leave_to_launcher(text: str) -> None:
    """Write an error to the file from which torch's launcher reads it."""
    extra = {'py_callstack': text, 'timestamp': str(int(time.time()))}
    content = {'message': {'message': text, 'extraInfo': extra}}
    Path(os.environ[_FOR_LAUNCHER]).write_text(json.dumps(content), encoding='utf-8')
