"""Reader of stored logits."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mmkd_logit.flat import difference, leaves
from mmkd_logit.logit_store.header import read_header
from mmkd_logit.logit_store.records import LogitRecord, TopRows, checksum

UNFINISHED = '.part'
# A read maps this much around a record if the file is in the page cache.
_AROUND = 2 * 2**16
# Mapped bytes after which they are released; they stay in the page cache.
_MOST_MAPPED = 32 * 2**20


def view_file(folder: Path, view: int) -> Path:
    """Return the file of a view."""
    return folder / f'view_{view:04}.bin'


class LogitStore:
    """The logits of every image in every view, memory-mapped.

    Any number of processes can read a store at the same time. Each maps less than
    100 MB of it, whatever its size.

    Args:
        folder (str | Path): Folder that ``tools/cache_teacher.py`` wrote.

    Raises:
        FileNotFoundError: If it does not exist, or is not finished.
        ValueError: If its header was altered, or a file is missing or truncated.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            began = self.folder.with_name(self.folder.name + UNFINISHED)
            state = (
                f'is not finished ({began} is there). Run tools/cache_teacher.py '
                'again, which continues where it stopped.'
                if began.is_dir()
                else f'does not exist (looked in {Path.cwd()}). Create it with '
                'tools/cache_teacher.py.'
            )
            raise FileNotFoundError(f'The store of logits {str(folder)!r} {state}')
        self.header = read_header(self.folder)
        self.record = LogitRecord.from_header(self.header['record'])
        self.views: int = self.header['views']
        self.images: int = self.header['images']
        self.seed: int = self.header['seed']
        self._maps: dict[int, mmap.mmap] = {}
        self._mapped = 0
        expected = self.record.size * self.images
        for view in range(self.views):
            path = view_file(self.folder, view)
            size = path.stat().st_size if path.is_file() else 0
            if size != expected:
                raise ValueError(
                    f'{path} has {size:,} bytes, but the header of the store promises '
                    f'{expected:,}: it was truncated or replaced. Remove '
                    f'{self.folder} and store the logits again.'
                )

    def __getstate__(self) -> dict[str, Any]:
        """Drop the maps: another process maps the files itself."""
        return {**self.__dict__, '_maps': {}, '_mapped': 0}

    def compare(self, here: Mapping[str, Any]) -> None:
        """Check that the logits belong to this run.

        Args:
            here (Mapping[str, Any]): Expected values, by the keys of the header.

        Raises:
            ValueError: If any value differs. The message names it.
        """
        there = {key: self.header.get(key) for key in here}
        found = difference(dict(leaves(here)), dict(leaves(there)))
        if found:
            raise ValueError(
                f'The logits in {self.folder} do not belong to this run: {found} when '
                'they were stored. Change the config back, or store logits for it '
                'with tools/cache_teacher.py.'
            )

    def read(self, places: Sequence[tuple[int, int]]) -> Tensor | TopRows:
        """Read the logits of some images, without checks.

        Args:
            places (Sequence[tuple[int, int]]): View and index of each image.

        Returns:
            Tensor | TopRows: Logits of shape (N, C, ...), or the largest.
        """
        payload = self.record.payload
        rows = [self._record(*place)[:payload] for place in places]
        return self.record.decode(rows)

    def verify(self, view: int, index: int, image: int | None = None) -> None:
        """Check that the logits of an image are intact, and belong to that image.

        Args:
            view (int): The view.
            index (int): Index of the image in the dataset.
            image (int, optional): Digest of the image. Defaults to None: not compared.

        Raises:
            ValueError: If the checksum or the digest does not match.
        """
        found = self._record(view, index)
        body, tail = found[:-4], int.from_bytes(found[-4:], 'little')
        if checksum(body, view * self.images + index) != tail:
            raise ValueError(
                f'{view_file(self.folder, view)} was altered: the checksum of image '
                f'{index} does not match. Remove {self.folder} and store the logits '
                'again.'
            )
        if image is not None and int.from_bytes(body[-4:], 'little') != image:
            raise ValueError(
                f'Image {index} in view {view} is not the one whose logits '
                f'{self.folder} holds: the data files, or the libraries that read '
                'and augment them, have changed. Store the logits again, or set '
                'teacher.check_images=False if the difference is harmless.'
            )

    def _record(self, view: int, index: int) -> bytes:
        if view not in self._maps:
            with view_file(self.folder, view).open('rb') as file:
                found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, 'MADV_RANDOM'):
                found.madvise(mmap.MADV_RANDOM)
            self._maps[view] = found
        start = index * self.record.size
        record = self._maps[view][start : start + self.record.size]
        self._mapped += self.record.size + _AROUND
        if self._mapped > _MOST_MAPPED and hasattr(mmap, 'MADV_DONTNEED'):
            for each in self._maps.values():
                each.madvise(mmap.MADV_DONTNEED)
            self._mapped = 0
        return record
