"""What every registered loss has in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mmkd_logit.functional import standardize as z_score
from mmkd_logit.structures import LogitRows

_HEADS = ('main', 'aux')


class LogitLoss(nn.Module, ABC):
    """Base of the losses: picks the head, standardizes, weights.

    A subclass implements :meth:`compute`, and is registered in
    ``mmkd_logit.registry.MODELS``.

    Args:
        loss_weight (float): Factor of the loss. Defaults to 1.0.
        head (str): The student logits that the loss acts on: ``'main'``, the
            student's own, or ``'aux'``, those of the auxiliary head. Defaults to
            'main'.
        standardize (bool): Whether to z-score both logits per row first. Defaults to
            False.

    Raises:
        ValueError: If ``loss_weight`` is not finite, or ``head`` is unknown.
    """

    needs_labels: bool = False
    """Whether :meth:`compute` reads ``rows.labels``, which mixup takes away."""

    gathers: ClassVar[bool] = False
    """Whether :meth:`compute` waits for other processes, and so must run on a process
    that has no rows too."""

    schedule: float
    """Factor of ``loss_weight`` at this moment, set by ``LossWeightHook``."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        head: str = 'main',
        standardize: bool = False,
    ) -> None:
        super().__init__()
        if not math.isfinite(loss_weight):
            raise ValueError(f'loss_weight must be finite, but got {loss_weight}.')
        if head not in _HEADS:
            raise ValueError(f"head must be 'main' or 'aux', but got {head!r}.")
        self.loss_weight = loss_weight
        self.head = head
        self.standardize = standardize
        self.schedule = 1.0

    @property
    def weight(self) -> float:
        """Weight at this moment: ``loss_weight`` times ``schedule``."""
        return self.loss_weight * self.schedule

    @abstractmethod
    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        """The loss before its weight.

        Args:
            student (Tensor): Student logits of the chosen head, shape (N, C).
            teacher (Tensor): Teacher logits, shape (N, C).
            rows (LogitRows): All that is known of the N rows.

        Returns:
            Tensor: A scalar.
        """

    def forward(self, rows: LogitRows) -> Tensor:
        """Weighted loss of some rows.

        Args:
            rows (LogitRows): N rows of C classes.

        Returns:
            Tensor: A scalar. It is 0 and keeps the graph if the weight is 0 or there
            are no rows.
        """
        logits = rows.aux if self.head == 'aux' else rows.student
        if logits is None:
            raise ValueError(
                f"{type(self).__name__} has head='aux', but the step has no logits of "
                'an auxiliary head. Give the distiller an aux_head.'
            )
        if self.weight == 0 or (len(rows) == 0 and not self.gathers):
            return logits[:0].sum()
        teacher = rows.teacher
        if self.standardize:
            logits, teacher = z_score(logits), z_score(teacher)
        return self.weight * self.compute(logits, teacher, rows)

    def extra_repr(self) -> str:
        return (
            f'loss_weight={self.loss_weight}, head={self.head!r}, '
            f'standardize={self.standardize}'
        )
