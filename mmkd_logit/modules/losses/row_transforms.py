"""Transforms of the logits of student and teacher, for use with any loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from mmkd_logit.dist import sum_over_ranks
from mmkd_logit.functional import (
    scale_by_std,
    standardize,
    standardize_classes,
    swap_errors,
)
from mmkd_logit.structures import LogitRows


class RowTransform(ABC):
    """Changes the logits that a loss compares.

    For use in configs, a subclass is registered in
    ``mmkd_logit.registry.ROW_TRANSFORMS`` under its name there, as in
    ``transforms=('standardize',)``; or, if it has settings,
    ``transforms=[dict(type='mine', scale=2.0)]``.
    """

    needs_labels: ClassVar[bool] = False
    """Whether it reads ``rows.labels``, which mixup removes."""

    by_row: ClassVar[bool] = False
    """Whether each row is transformed separately, see :attr:`LogitLoss.by_row`."""

    gathers: ClassVar[bool] = False
    """Whether it waits for other processes, and so must also run in a process that has
    no rows. The mean over rows is then over those of all processes."""

    @abstractmethod
    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        """Transform the logits of student and teacher.

        Args:
            student (Tensor): Student logits of the chosen head, shape (N, C).
            teacher (Tensor): Teacher logits, shape (N, C).
            rows (LogitRows): All that is known about the N rows.

        Returns:
            tuple[Tensor, Tensor]: Student and teacher logits, shape (N, C).
        """


class Standardize(RowTransform):
    """Z-score of each row, :func:`mmkd_logit.functional.standardize`.

    Source: https://arxiv.org/abs/2403.01427
    """

    by_row = True

    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        return standardize(student), standardize(teacher)


class ScaleByStd(RowTransform):
    """Each row divided by its standard deviation, as in NormKD.

    For a loss that does not change if a constant is added to a row, such as KD or DKD,
    this is the same as 'standardize'. NormKD also multiplies a row's loss by the
    variance of the teacher's logits, which a transform cannot do; ``NormKDLoss`` does.
    See :func:`mmkd_logit.functional.scale_by_std`.

    Source: https://arxiv.org/abs/2308.00520
    """

    by_row = True

    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        return scale_by_std(student)[0], scale_by_std(teacher)[0]


class StandardizeClasses(RowTransform):
    """Z-score of each class over the batch, as in LumiNet.

    Mean and variance are over the rows of all processes, so the result is the same as
    in one process. See :func:`mmkd_logit.functional.standardize_classes`. LumiNet is KD
    after this transform, with its own factor in place of the squared temperature:
    ``dict(type='KDLoss', tau=tau, loss_weight=alpha**2 / tau**2,
    transforms=['standardize_classes'])``.

    Source: https://arxiv.org/abs/2310.03669
    """

    gathers = True

    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        return (
            standardize_classes(student, sum_over_ranks),
            standardize_classes(teacher, sum_over_ranks),
        )


class SwapErrors(RowTransform):
    """Swaps the teacher's top logit and the label's where it errs, as in SLD.

    See :func:`mmkd_logit.functional.swap_errors`. The second half of SLD, in which the
    student learns from its own swapped logits from epoch 150 on, is not included.

    Source: https://arxiv.org/abs/2504.20108
    """

    needs_labels = True
    by_row = True

    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        return student, swap_errors(teacher, rows.one_label_per_row('swap_errors'))


TRANSFORMS: dict[str, type[RowTransform]] = {
    'scale_by_std': ScaleByStd,
    'standardize': Standardize,
    'standardize_classes': StandardizeClasses,
    'swap_errors': SwapErrors,
}
"""The row transforms of this package, under the names that configs use."""
