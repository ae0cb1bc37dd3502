"""A live teacher on views, with the same logits, bit for bit, as stored ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmkd_logit.models.teachers.teacher import Teacher
from mmkd_logit.views import IN_SAMPLE, NO_VIEWS


class FullBatch:
    """Runs a model on batches of one size, the largest so far.

    A matrix product of few rows is rounded differently from one of many rows, so the
    logits of an image would depend on whether it is in the last batch of an epoch.

    Args:
        run (Callable): Takes images of shape (N, ...), and returns N rows of logits.
    """

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        self._run = run
        self._size = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        """Run a batch; a smaller one is padded with copies of its first image."""
        count = len(inputs)
        self._size = max(self._size, count)
        if count < self._size:
            more = inputs[:1].expand(self._size - count, *inputs.shape[1:])
            inputs = torch.cat([inputs, more])
        return self._run(inputs)[:count]


class ViewTeacher(Teacher):
    """A live teacher for a training set of views.

    Args:
        **common: The settings of :class:`Teacher`.
    """

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self._full_batch = FullBatch(super().__call__)

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor:
        """Compute the logits of preprocessed images, see :class:`Teacher`.

        Raises:
            ValueError: If the data samples are not views.
        """
        if data_samples is None:  # validation images are not views
            return super().__call__(inputs)
        if data_samples[0].get(IN_SAMPLE) is None:
            raise ValueError(NO_VIEWS)
        return self._full_batch(inputs)
