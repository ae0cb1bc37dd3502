"""Locks that end with the process that holds them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]


def try_lock(file: IO | int) -> bool:
    """Lock an open file or folder until it is closed.

    Args:
        file (IO | int): The file, or its descriptor.

    Returns:
        bool: False if another process has it. Where there are no locks, True.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextmanager
def only_one_in(folder: str | Path) -> Iterator[None]:
    """Refuse to work in a folder in which another process works.

    Args:
        folder (str | Path): The folder.

    Raises:
        FileExistsError: If another process is in this context.
    """
    if fcntl is None:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        if not try_lock(opened):
            raise FileExistsError(
                f'Another training runs in {folder}. Wait until it ends, or give this '
                'one another work_dir.'
            )
        yield
    finally:
        with suppress(OSError):  # where there are no locks
            fcntl.flock(opened, fcntl.LOCK_UN)  # workers have copies of the file
        os.close(opened)
