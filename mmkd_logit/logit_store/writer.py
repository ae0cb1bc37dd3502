"""Writer of stored logits, for several processes, that resumes after a stop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mmengine.dist import barrier, is_main_process
from torch import Tensor

from mmkd_logit.flat import difference, leaves
from mmkd_logit.lock import try_lock
from mmkd_logit.logit_store.header import (
    HEADER,
    header_text,
    identity_of,
    read_header,
    salt_of,
)
from mmkd_logit.logit_store.records import LogitRecord, checksum
from mmkd_logit.logit_store.store import UNFINISHED, view_file

_LOCK = '.lock'


class StoreWriter:
    """A store being written, in a folder next to its final one until it is finished.

    Every process creates one; the first creates the files.

    Args:
        folder (str | Path): Final folder of the store.
        header (dict): Its header.

    Raises:
        FileExistsError: If the store exists, or another process is writing it.
        ValueError: If a different store was begun there.
        OSError: If there is not enough disk space.
    """

    def __init__(self, folder: str | Path, header: Mapping[str, Any]) -> None:
        self.folder = Path(folder).expanduser()
        self.part = self.folder.with_name(self.folder.name + UNFINISHED)
        self.record = LogitRecord.from_header(header['record'])
        self.views: int = header['views']
        self.images: int = header['images']
        self._text = header_text(header)
        self._salt = salt_of(header)
        self._files: dict[int, int] = {}
        self._lock: IO[str] | None = None
        if self.folder.exists():
            raise FileExistsError(
                f'{self.folder} already exists. Remove it to store the logits again.'
            )
        if self.part.is_dir():
            self._check_begun(header)

    def _check_begun(self, header: Mapping[str, Any]) -> None:
        began = read_header(self.part)
        found = difference(
            dict(leaves(identity_of(header))), dict(leaves(identity_of(began)))
        )
        if found:
            raise ValueError(
                f'{self.part} was begun as another store: {found}. Remove it to start '
                'over, or name another folder.'
            )
        for path in self.part.iterdir():
            if not path.is_file():  # a pipe would be waited for
                raise ValueError(
                    f'{path} is no file. Remove {self.part} to start over.'
                )
        self._text = header_text(began)

    @property
    def size(self) -> int:
        """Size of the finished store in bytes."""
        return self.views * self.view_size + len(self._text.encode())

    @property
    def view_size(self) -> int:
        """Size of the file of a view in bytes."""
        return self.record.size * self.images

    def missing_size(self) -> int:
        """Return the disk space still needed, in bytes."""
        files = [view_file(self.part, view) for view in range(self.views)]
        taken = sum(512 * f.stat().st_blocks for f in files if f.is_file())
        return max(0, self.size - taken)

    def free_size(self) -> int:
        """Return the free space on its disk, in bytes."""
        parents = (each for each in self.folder.absolute().parents if each.exists())
        return shutil.disk_usage(next(parents)).free

    def open(self) -> None:
        """Create the files at their full size, or reuse existing ones."""
        barrier()  # all have looked for a store that was begun
        if is_main_process():
            if self.missing_size() > self.free_size():
                raise OSError(
                    f'{self.folder} needs {self.missing_size():,} bytes more, but '
                    f'{self.free_size():,} are free. Free some space, store fewer '
                    "views, or use dtype='float16' or top_k."
                )
            self.part.mkdir(parents=True, exist_ok=True)
            self._lock = (self.part / _LOCK).open('w')
            if not try_lock(self._lock):
                raise FileExistsError(
                    f'Another process is writing {self.part}. Wait until it ends.'
                )
            draft = self.part / f'{HEADER}.new'
            draft.write_text(self._text, encoding='utf-8')
            draft.replace(self.part / HEADER)
            for view in range(self.views):
                self._reserve(view_file(self.part, view))
        barrier()

    def _reserve(self, path: Path) -> None:
        """Reserve the disk space of a view, so that it cannot run out later."""
        with path.open('ab') as file:
            if os.fstat(file.fileno()).st_size == self.view_size:
                return
            file.truncate(self.view_size)
            if hasattr(os, 'posix_fallocate'):
                os.posix_fallocate(file.fileno(), 0, self.view_size)

    def missing(self, view: int, rank: int = 0, world: int = 1) -> Iterator[int]:
        """Yield the images whose logits are not written yet, or are incomplete.

        Args:
            view (int): The view.
            rank (int): Rank of this process. Defaults to 0.
            world (int): Number of processes that share the images. Defaults to 1.

        Yields:
            int: Indices in the dataset.
        """
        size = self.record.size
        with view_file(self.part, view).open('rb') as file:
            for index in range(rank, self.images, world):
                file.seek(index * size)
                found = file.read(size)
                sealed = int.from_bytes(found[-4:], 'little')
                position = view * self.images + index
                if not sealed or checksum(found[:-4], position, self._salt) != sealed:
                    yield index

    def write(
        self,
        places: Sequence[tuple[int, int]],
        logits: Tensor,
        images: Sequence[int],
    ) -> None:
        """Write the logits of some images.

        Args:
            places (Sequence[tuple[int, int]]): View and index of each image.
            logits (Tensor): Shape (N, C, ...).
            images (Sequence[int]): Digests of the images.
        """
        rows = self.record.encode(logits)
        for (view, index), row, image in zip(places, rows, images):
            body = row + image.to_bytes(4, 'little')
            sealed = checksum(body, view * self.images + index, self._salt)
            record = body + sealed.to_bytes(4, 'little')
            os.pwrite(self._file(view), record, index * self.record.size)

    def _file(self, view: int) -> int:
        if view not in self._files:
            self._close()  # views come one after another
            self._files[view] = os.open(view_file(self.part, view), os.O_WRONLY)
        return self._files[view]

    def _close(self) -> None:
        for file in self._files.values():
            os.fsync(file)
            os.close(file)
        self._files.clear()

    def finish(self) -> None:
        """Give the store its final name, which an incomplete store never has.

        Raises:
            RuntimeError: If logits are missing.
        """
        self._close()
        barrier()
        if is_main_process():
            for view in range(self.views):
                if (index := next(self.missing(view), None)) is not None:
                    raise RuntimeError(
                        f'Image {index} of view {view} is missing in {self.part}. Run '
                        'the same command again.'
                    )
            (self.part / _LOCK).unlink()
            self.part.rename(self.folder)
            assert self._lock is not None
            self._lock.close()
        barrier()
