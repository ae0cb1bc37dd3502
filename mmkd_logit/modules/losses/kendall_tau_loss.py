"""Kendall's tau between student and teacher, as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import kendall_tau_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class KendallTauLoss(LogitLoss):
    """Ranking loss to add to others, :func:`mmkd_logit.functional.kendall_tau_loss`.

    In the paper, it has the same weight as the loss that it is added to.

    Source: https://arxiv.org/abs/2409.17823

    Args:
        k (float): Steepness, above 0, in 1 / logits. Defaults to 100.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if the teacher's
            logits are not finite, or there is only one class.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import KendallTauLoss, LogitRows
        >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
        >>> KendallTauLoss()(LogitRows(student=logits, teacher=logits))
        tensor(0.)
    """

    by_row = True

    def __init__(self, k: float = 100.0, **common: Any) -> None:
        super().__init__(**common)
        check_positive('k', k)
        self.k = k

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return kendall_tau_loss(student, teacher, self.k)
