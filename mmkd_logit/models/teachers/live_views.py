"""A teacher that runs on views, to the bit as its stored logits are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmkd_logit.models.teachers.teacher import Teacher
from mmkd_logit.views import IN_SAMPLE, NO_VIEWS


class FullBatch:
    """Runs a model on batches of one size, the largest that it has met.

    A product of few rows is rounded otherwise than one of many, so that the logits of
    an image would depend on whether it is in the last batch of an epoch.

    Args:
        run (Callable): Takes images of shape (N, ...), and gives N logits.
    """

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        self._run = run
        self._size = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of a batch; a smaller one is filled up with its first image."""
        count = len(inputs)
        self._size = max(self._size, count)
        if count < self._size:
            more = inputs[:1].expand(self._size - count, *inputs.shape[1:])
            inputs = torch.cat([inputs, more])
        return self._run(inputs)[:count]


class ViewTeacher(Teacher):
    """A teacher of a run whose training set shows views.

    Args:
        **common: The settings of :class:`Teacher`.
    """

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self._full_batch = FullBatch(super().__call__)

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor:
        """Logits of preprocessed images, see :class:`Teacher`.

        Raises:
            ValueError: If the data samples are no views.
        """
        if data_samples is None:  # those of validation are no views
            return super().__call__(inputs)
        if data_samples[0].get(IN_SAMPLE) is None:
            raise ValueError(NO_VIEWS)
        return self._full_batch(inputs)
