"""Normalized Knowledge Distillation (NKD), as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import nkd_loss
from mmkd_logit.functional._checks import check_not_negative, check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class NKDLoss(LogitLoss):
    """NKD, :func:`mmkd_logit.functional.nkd_loss`.

    Source: https://arxiv.org/abs/2303.13005

    Args:
        gamma (float): Factor of the other classes' term, 0 or more. Defaults to 1.5.
        tau (float): Temperature of that term, above 0. Defaults to 1.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if there is not
            one label per row.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, NKDLoss
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> rows = LogitRows(logits, logits, labels=torch.tensor([0]))
        >>> print(f'{NKDLoss(gamma=0.0)(rows):.4f}')
        0.1885
    """

    needs_labels = True
    by_row = True

    def __init__(self, gamma: float = 1.5, tau: float = 1.0, **common: Any) -> None:
        super().__init__(**common)
        check_not_negative('gamma', gamma)
        check_positive('tau', tau)
        self.gamma = gamma
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        target = rows.one_label_per_row('NKDLoss')
        return nkd_loss(student, teacher, target, self.gamma, self.tau)
