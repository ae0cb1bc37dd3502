"""Reader of stored logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from mmkd_logit.flat import difference, leaves
from mmkd_logit.logit_store.header import read_header, salt_of
from mmkd_logit.logit_store.records import LogitRecord, TopRows, checksum

UNFINISHED = '.part'


def view_file(folder: Path, view: int) -> Path:
    """Return the file of a view."""
    return folder / f'view_{view:04}.bin'


class LogitStore:
    """The logits of every image in every view, read from files on demand.

    Any number of processes can read a store at the same time.

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
        self._salt = salt_of(self.header)
        for view in range(self.views):
            self._open(view).close()

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

        Raises:
            ValueError: If a file was truncated or replaced since the store was opened.
        """
        return self.record.decode(self._read(places, self.record.payload))

    def verify(self, view: int, index: int, image: int | None = None) -> None:
        """Check that the logits of an image are intact, and belong to that image.

        Args:
            view (int): The view.
            index (int): Index of the image in the dataset.
            image (int, optional): Digest of the image. Defaults to None: not compared.

        Raises:
            ValueError: If the checksum or the digest does not match, or the file was
                truncated.
        """
        (record,) = self._read([(view, index)], self.record.size)
        body, tail = record[:-4], int.from_bytes(record[-4:], 'little')
        if checksum(body, view * self.images + index, self._salt) != tail:
            raise ValueError(
                f'{view_file(self.folder, view)} was altered, or belongs to another '
                f'store: the checksum of image {index} does not match. Remove '
                f'{self.folder} and store the logits again.'
            )
        if image is not None and int.from_bytes(body[-4:], 'little') != image:
            raise ValueError(
                f'Image {index} in view {view} is not the one whose logits '
                f'{self.folder} holds: the data files, or the libraries that read '
                'and augment them, have changed. Store the logits again, or set '
                'teacher.check_images=False if the difference is harmless.'
            )

    def _read(self, places: Sequence[tuple[int, int]], length: int) -> list[bytes]:
        """Return so many bytes of some records."""
        records = []
        with ExitStack() as stack:
            # Not mapped: if a mapped file is truncated, reading it ends the process.
            files = {
                view: stack.enter_context(self._open(view))
                for view in {view for view, _ in places}
            }
            for view, index in places:
                files[view].seek(index * self.record.size)
                records.append(files[view].read(length))
                if len(records[-1]) < length:
                    raise ValueError(
                        f'{view_file(self.folder, view)} ends within the logits of '
                        f'image {index}: it was truncated while it was read.'
                    )
        return records

    def _open(self, view: int) -> IO[bytes]:
        path = view_file(self.folder, view)
        size = path.stat().st_size if path.is_file() else 0
        expected = self.record.size * self.images
        if size != expected:
            raise ValueError(
                f'{path} has {size:,} bytes, but the header of the store promises '
                f'{expected:,}: it was truncated or replaced. Remove {self.folder} and '
                'store the logits again.'
            )
        return path.open('rb', buffering=0)
