"""What both logits of a row can go through in front of any loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from mmkd_logit.functional import standardize
from mmkd_logit.registry import ROW_TRANSFORMS
from mmkd_logit.structures import LogitRows


class RowTransform(ABC):
    """Changes the logits that a loss compares.

    A subclass is registered in ``mmkd_logit.registry.ROW_TRANSFORMS`` under the name
    that configs use, as in ``transforms=('standardize',)``; with settings of its own,
    ``transforms=[dict(type='mine', scale=2.0)]``.
    """

    needs_labels: ClassVar[bool] = False
    """Whether it reads ``rows.labels``, which mixup takes away."""

    by_row: ClassVar[bool] = False
    """Whether each row is changed by itself, as :attr:`LogitLoss.by_row`."""

    @abstractmethod
    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        """Transform the logits of both.

        Args:
            student (Tensor): Student logits of the chosen head, shape (N, C).
            teacher (Tensor): Teacher logits, shape (N, C).
            rows (LogitRows): All that is known of the N rows.

        Returns:
            tuple[Tensor, Tensor]: Student and teacher logits, shape (N, C).
        """


@ROW_TRANSFORMS.register_module(name='standardize')
class Standardize(RowTransform):
    """Z-score of each row, :func:`mmkd_logit.functional.standardize`.

    Source: https://arxiv.org/abs/2403.01427
    """

    by_row = True

    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        return standardize(student), standardize(teacher)
