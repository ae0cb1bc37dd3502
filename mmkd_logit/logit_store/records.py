"""Layout of one image's logits in a file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

DTYPES = ('float32', 'float16')
# Digest of the image, and checksum of the record.
_TAIL = 8
# NumPy has no larger records.
_MOST_BYTES = 2**31
_REST = ('rest', '<f4')


class TopRows(NamedTuple):
    """The largest logits of some images, and the mass of the others.

    Attributes:
        values (Tensor): The k largest logits, in descending order, shape (N, k).
        indices (Tensor): Their classes, shape (N, k).
        rest (Tensor): ``tau * logsumexp(logit / tau)`` of the others, shape (N,).
    """

    values: Tensor
    indices: Tensor
    rest: Tensor

    def spread(self, classes: int, tau: float) -> Tensor:
        """Return logits of all classes; the others share their mass equally.

        Args:
            classes (int): Number of classes, C.
            tau (float): Temperature of the rest.

        Returns:
            Tensor: Shape (N, C), in float32.
        """
        count = classes - self.values.shape[1]
        each = (self.rest - tau * math.log(count))[:, None].expand(-1, classes)
        return each.float().scatter(1, self.indices, self.values.float())


@dataclass(frozen=True)
class LogitRecord:
    """Layout of a record: an image's logits, a digest of the image, and a checksum.

    Attributes:
        shape (tuple[int, ...]): Shape of the logits: classes, and height and width of
            a map.
        dtype (str): 'float32' or 'float16'.
        top_k (int, optional): Number of largest logits to keep. None: all.
        tau (float, optional): Temperature of the rest's mass, with ``top_k``.

    Raises:
        ValueError: If a setting is out of range, or ``top_k`` is set for maps.
    """

    shape: tuple[int, ...]
    dtype: str = 'float32'
    top_k: int | None = None
    tau: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(
                f"dtype must be 'float32' or 'float16', but got {self.dtype!r}."
            )
        sizes = self.shape
        if (
            not isinstance(sizes, tuple)
            or not sizes
            or not all(is_integer(size) and size > 0 for size in sizes)
            or 4 * math.prod(sizes) >= _MOST_BYTES
        ):
            raise ValueError(
                'shape must be that of the logits of one image, integers above 0 for '
                f'less than {_MOST_BYTES:,} bytes, but got {sizes!r:.80}.'
            )
        if self.top_k is None:
            if self.tau is not None:
                raise ValueError(f'tau is for top_k, but got {self.tau!r} without.')
            return
        if len(self.shape) > 1:
            raise ValueError(
                'top_k keeps different classes at each pixel, so a map cannot be '
                'resized. Store all logits of a segmentor.'
            )
        if not is_integer(self.top_k) or not 0 < self.top_k < self.shape[0] - 1:
            raise ValueError(
                f'top_k must be from 1 to {self.shape[0] - 2} for {self.shape[0]} '
                f'classes, but got {self.top_k!r}.'
            )
        tau = None if isinstance(self.tau, bool) else self.tau
        if not isinstance(tau, int | float) or not 0 < tau < 1e6:
            raise ValueError(
                'top_k needs tau, the temperature of the loss, a number above 0, and '
                f'below a million, but got {self.tau!r}.'
            )

    @classmethod
    def from_header(cls, record: Mapping[str, Any]) -> LogitRecord:
        """Create the layout that a header describes.

        Raises:
            ValueError: If it describes none.
        """
        names = [field.name for field in fields(cls)]
        if sorted(record) != sorted(names):
            raise ValueError(f'the keys must be {names}, but are {list(record)}.')
        shape = record['shape']
        return cls(
            **{**record, 'shape': tuple(shape) if isinstance(shape, list) else shape}
        )

    def to_header(self) -> dict[str, Any]:
        """Return the layout as a header stores it."""
        return {**asdict(self), 'shape': list(self.shape)}

    @cached_property
    def layout(self) -> np.dtype:
        """Layout of the logits in bytes."""
        little = np.dtype(self.dtype).newbyteorder('<')
        if self.top_k is None:
            return np.dtype([('logits', little, self.shape)])
        index = '<u2' if self.shape[0] <= 2**16 else '<u4'
        kept = (self.top_k,)
        return np.dtype([('values', little, kept), ('indices', index, kept), _REST])

    @property
    def payload(self) -> int:
        """Size of the logits in bytes."""
        return self.layout.itemsize

    @property
    def size(self) -> int:
        """Size of a record in bytes."""
        return self.payload + _TAIL

    def encode(self, logits: Tensor) -> list[bytes]:
        """Encode the logits of some images as bytes.

        Args:
            logits (Tensor): Shape (N, C, ...).

        Returns:
            list[bytes]: One item per image, of ``payload`` bytes each.

        Raises:
            ValueError: If the shape differs, or ``dtype`` cannot hold a logit.
        """
        if tuple(logits.shape[1:]) != self.shape:
            raise ValueError(
                f'The teacher gave logits of shape {tuple(logits.shape[1:])} for an '
                f'image, but {self.shape} before. Stored logits must have one size: '
                'resize all images to the same size in the pipeline or the '
                'data_preprocessor.'
            )
        wide = logits.detach().cpu().float()
        if not bool(wide.isfinite().all()):
            raise ValueError(
                'The teacher gave logits that are not finite. Check its checkpoint, '
                'its normalization, and its dtype.'
            )
        parts: tuple[Tensor, ...] = (wide,)
        if self.top_k is not None:
            parts = top_rows(wide, self.top_k, self.tau or 1.0)
        rows = np.empty(len(wide), self.layout)
        for name, part in zip(self.layout.names or (), parts):
            with np.errstate(over='ignore'):
                rows[name] = part.numpy()
            if not np.isfinite(rows[name]).all():
                raise ValueError(
                    f'The teacher gave a logit of {float(part.abs().max()):.3g}, which '
                    f"{self.dtype} cannot hold. Store with dtype='float32'."
                )
        return [row.tobytes() for row in rows]

    def decode(self, payloads: Sequence[bytes | memoryview]) -> Tensor | TopRows:
        """Decode logits from bytes.

        Args:
            payloads (Sequence[bytes]): One item per image.

        Returns:
            Tensor | TopRows: Logits of shape (N, C, ...) in ``dtype``; with ``top_k``,
            the largest.
        """
        rows = np.frombuffer(bytearray().join(payloads), self.layout)
        if self.top_k is None:
            return torch.from_numpy(rows['logits'])
        # Copies: the numbers of a record have no multiple of their size between them.
        values, rest = (
            torch.from_numpy(rows[key].copy()) for key in ('values', 'rest')
        )
        return TopRows(values, torch.from_numpy(rows['indices'].astype(np.int64)), rest)


def top_rows(logits: Tensor, k: int, tau: float) -> TopRows:
    """Return the k largest logits of each row, and the mass of the others.

    Args:
        logits (Tensor): Shape (N, C), with C above k.
        k (int): Number of logits to keep.
        tau (float): Temperature of the mass, above 0.

    Returns:
        TopRows: In the dtype of the logits.
    """
    values, indices = logits.topk(k, dim=1)
    others = logits.scatter(1, indices, -torch.inf)
    return TopRows(values, indices, tau * (others / tau).logsumexp(1))


def checksum(payload: bytes | memoryview, position: int, salt: int) -> int:
    """Compute the checksum of a record; never 0, which marks an unwritten one.

    Args:
        payload (bytes): Logits and digest of the image.
        position (int): Position of the record: the checksum is valid nowhere else.
        salt (int): Number of the store: the checksum is valid in no other.
    """
    return zlib.crc32(payload, (salt + position) & 0xFFFFFFFF) or 1


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def digest_of_image(image: Tensor) -> int:
    """Compute a 32-bit digest of an image as a pipeline packs it."""
    return zlib.crc32(np.ascontiguousarray(image.numpy()).tobytes())
