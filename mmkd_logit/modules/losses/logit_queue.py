"""The latest logits of a teacher, for losses that compare with more than a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.functional._checks import compute_dtype
from mmkd_logit.functional.contrast import direction


class LogitQueue(nn.Module):
    """A ring of rows, each with the index of its image and its class.

    Its tensors are no buffers, so that EMA does not copy and DDP not send them in every
    step. They follow the model to another device, and are saved and loaded with it.

    Args:
        size (int, optional): Number of rows that it holds, 1 or more. None: it is
            given later by :meth:`allocate`, or by a checkpoint.
        num_classes (int): Number of classes of a row.
        dtype (str): Type in which rows are kept, 'float32' or 'float16'. Defaults to
            'float32'.
        save (bool): Whether it is saved in checkpoints. Defaults to True.

    Raises:
        ValueError: If ``size`` is not an integer of 1 or more, or ``dtype`` another
            type.
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
        """Make room for rows; a queue that has a size keeps it.

        Args:
            size (int): Number of rows, 1 or more.
        """
        if len(self._logits) == 0:
            self._logits = self._logits.new_zeros(size, self._logits.shape[1])
            self._image_index = self._labels.new_full((size,), -1)
            self._labels = self._labels.new_full((size,), -1)

    def __len__(self) -> int:
        """How many rows it holds by now."""
        return min(self._pushed, len(self._logits))

    @property
    def logits(self) -> Tensor:
        """Rows of length 1 of shape (len, C), a view."""
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
        """Add rows in place of the oldest; of more rows than fit, the last stay.

        They are divided by their length, which float16 keeps at full precision.

        Args:
            logits (Tensor): Shape (N, C).
            image_index (Tensor, optional): Shape (N,).
            labels (Tensor, optional): Shape (N,).

        Raises:
            ValueError: If the number of classes is another than the queue's.
            RuntimeError: If it has no size yet.
        """
        size, classes = self._logits.shape
        if size == 0:
            raise RuntimeError(
                'The queue has no size yet: call allocate() first, or give it one.'
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
        """Write rows from a place on, and what does not fit from the beginning."""
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
        # To another device only: the type is the queue's own.
        device = fn(self._labels[:0]).device
        for name, tensor in self._tensors().items():
            setattr(self, f'_{name}', tensor.to(device))
        return self

    def __deepcopy__(self, memo: dict) -> LogitQueue:
        """A copy of the model, as EMA makes it, shares the memory; it cannot train."""
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
                'logits: it was changed after it was saved. Start with an empty queue '
                'by save_queue=False.'
            )
        (size, classes), mine = state_dict[f'{prefix}logits'].shape, self._logits.shape
        if classes != mine[1]:
            raise ValueError(
                f'The checkpoint is of {classes} classes, by its queue of teacher '
                f'logits, but this model of {mine[1]}. A run can only be resumed on '
                'the classes that it began with; to start a new one from its weights, '
                'set save_queue=False.'
            )
        self.allocate(size)
        if size != len(self._logits):
            raise ValueError(
                f'The checkpoint holds a queue of {size} teacher logits, but this '
                f'model one of {len(self._logits)}. Set queue_size={size}, or start '
                'with an empty queue by save_queue=False.'
            )
        for name, tensor in self._tensors().items():
            tensor.copy_(state_dict[prefix + name])
        self._pushed = int(state_dict[f'{prefix}pushed'])
