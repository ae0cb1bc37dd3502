"""Queue of a teacher's latest logits, for losses that compare beyond the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.functional._checks import compute_dtype
from mmkd_logit.functional.contrast import direction


class LogitQueue(nn.Module):
    """A ring buffer of rows, each with the index of its image and its class.

    Its tensors are not registered as buffers: otherwise, EMA would copy them and DDP
    broadcast them in every step. They follow the model to other devices, and are saved
    and loaded with it.

    Args:
        size (int, optional): Maximum number of rows, 1 or more. None: set later by
            :meth:`allocate` or by a checkpoint.
        num_classes (int): Number of classes.
        dtype (str): Type in which rows are stored, 'float32' or 'float16'. Defaults to
            'float32'.
        save (bool): Whether it is saved in checkpoints. Defaults to True.

    Raises:
        ValueError: If ``size`` is not an integer of 1 or more, or ``dtype`` is
            any other type.
    """

    def __init__(
        self,
        size: int | None,
        num_classes: int,
        dtype: str = 'float32',
        save: bool = True,
    ) -> None:
        super().__init__()
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ValueError(
                f'queue_size must be None or an integer of 1 or more, but got {size!r}.'
            )
        if dtype not in ('float32', 'float16'):
            raise ValueError(
                f"queue_dtype must be 'float32' or 'float16', but got {dtype!r}."
            )
        self.save = save
        self._logits = torch.zeros(0, num_classes, dtype=getattr(torch, dtype))
        self._image_index = self._labels = torch.zeros(0, dtype=torch.long)
        self._pushed = 0
        if size is not None:
            self.allocate(size)

    def allocate(self, size: int) -> None:
        """Set the size and allocate memory, unless the queue already has a size.

        Args:
            size (int): Number of rows, 1 or more.
        """
        if len(self._logits) == 0:
            self._logits = self._logits.new_zeros(size, self._logits.shape[1])
            self._image_index = self._labels.new_full((size,), -1)
            self._labels = self._labels.new_full((size,), -1)

    def __len__(self) -> int:
        """Return the current number of rows."""
        return min(self._pushed, len(self._logits))

    @property
    def logits(self) -> Tensor:
        """Rows divided by their norms, shape (len, C), a view."""
        return self._logits[: len(self)]

    @property
    def image_index(self) -> Tensor:
        """Index in the dataset of each row's image, shape (len,), -1 if unknown."""
        return self._image_index[: len(self)]

    @property
    def labels(self) -> Tensor:
        """Class of each row, shape (len,), -1 if unknown."""
        return self._labels[: len(self)]

    @torch.no_grad()
    def push(
        self, logits: Tensor, image_index: Tensor | None, labels: Tensor | None
    ) -> None:
        """Add rows, overwriting the oldest; if not all fit, the last ones stay.

        They are divided by their norms, so that float16 stores them at full precision.

        Args:
            logits (Tensor): Shape (N, C).
            image_index (Tensor, optional): Shape (N,).
            labels (Tensor, optional): Shape (N,).

        Raises:
            ValueError: If they have another number of classes than the queue.
            RuntimeError: If it has no size yet.
        """
        size, classes = self._logits.shape
        if size == 0:
            raise RuntimeError(
                'The queue has no size yet: call allocate() first, or pass a size.'
            )
        if logits.shape[1] != classes:
            raise ValueError(
                f'The queue holds logits of {classes} classes, but got '
                f'{logits.shape[1]}.'
            )
        kept = slice(max(0, len(logits) - size), len(logits))
        first = (self._pushed + kept.start) % size
        self._pushed += len(logits)
        unit, _ = direction(logits[kept], compute_dtype(logits))
        unknown = torch.full_like(unit[:, 0], -1)
        for ring, rows in (
            (self._logits, unit),
            (self._image_index, unknown if image_index is None else image_index[kept]),
            (self._labels, unknown if labels is None else labels[kept]),
        ):
            self._write(ring, first, rows)

    @staticmethod
    def _write(ring: Tensor, first: int, rows: Tensor) -> None:
        """Write rows from a position on, wrapping around at the end."""
        fit = min(len(rows), len(ring) - first)
        ring[first : first + fit] = rows[:fit]
        ring[: len(rows) - fit] = rows[fit:]

    def _tensors(self) -> dict[str, Tensor]:
        return {
            'logits': self._logits,
            'image_index': self._image_index,
            'labels': self._labels,
        }

    def _apply(self, fn: Callable, recurse: bool = True) -> LogitQueue:
        super()._apply(fn, recurse)
        # Only to another device: the queue keeps its own type.
        device = fn(self._labels[:0]).device
        for name, tensor in self._tensors().items():
            setattr(self, f'_{name}', tensor.to(device))
        return self

    def __deepcopy__(self, memo: dict) -> LogitQueue:
        """Share the memory with a copy, such as that of EMA, which is never saved."""
        copied = copy.copy(self)
        copied.save = False
        return copied

    def _save_to_state_dict(
        self, destination: dict, prefix: str, keep_vars: bool
    ) -> None:
        if self.save:
            state = {**self._tensors(), 'pushed': torch.tensor(self._pushed)}
            destination.update({prefix + key: state[key] for key in state})

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A checkpoint without a queue, or with an empty one, leaves it as it is.
        if not self.save or not len(state_dict.get(f'{prefix}logits', ())):
            return
        keys = [prefix + key for key in (*self._tensors(), 'pushed')]
        if lacking := [key for key in keys if key not in state_dict]:
            raise ValueError(
                f'The checkpoint lacks {", ".join(lacking)} of its queue of teacher '
                'logits: it was modified after it was saved. To start with an empty '
                'queue, set save_queue=False.'
            )
        (size, classes), mine = state_dict[f'{prefix}logits'].shape, self._logits.shape
        if classes != mine[1]:
            raise ValueError(
                f'The teacher logits in the queue of the checkpoint have {classes} '
                f'classes, but this model has {mine[1]}. A run can only be resumed on '
                'the classes that it began with; to start a new one from its weights, '
                'set save_queue=False.'
            )
        self.allocate(size)
        if size != len(self._logits):
            raise ValueError(
                f'The checkpoint holds a queue of {size} teacher logits, but this '
                f'model has one of {len(self._logits)}. Set queue_size={size}, or, to '
                'start with an empty queue, save_queue=False.'
            )
        for name, tensor in self._tensors().items():
            tensor.copy_(state_dict[prefix + name])
        self._pushed = int(state_dict[f'{prefix}pushed'])
