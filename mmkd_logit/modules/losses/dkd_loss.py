"""Decoupled Knowledge Distillation (DKD), as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import dkd_loss
from mmkd_logit.functional._checks import check_not_negative, check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class DKDLoss(LogitLoss):
    """DKD, :func:`mmkd_logit.functional.dkd_loss`.

    The paper's warm-up, min(e / 20, 1) in epoch e counted from 1, is
    ``dict(type='mmkd_logit.LossWeightHook', names=['dkd'], warmup=20)`` in
    ``custom_hooks``.

    Source: https://arxiv.org/abs/2203.08679

    Args:
        alpha (float): Factor of the label's term, 0 or more. Defaults to 1.0.
        beta (float): Factor of the other classes' term, 0 or more. Defaults to 8.0.
        tau (float): Temperature, above 0. Defaults to 4.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if there is not
            one label per row.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import DKDLoss, LogitRows
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> rows = LogitRows(logits, logits, labels=torch.tensor([0]))
        >>> DKDLoss(beta=2.0)(rows)
        tensor(0.)
    """

    needs_labels = True
    by_row = True

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, tau: float = 4.0, **common: Any
    ) -> None:
        super().__init__(**common)
        check_not_negative('alpha', alpha)
        check_not_negative('beta', beta)
        check_positive('tau', tau)
        self.alpha = alpha
        self.beta = beta
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        target = rows.one_label_per_row('DKDLoss')
        return dkd_loss(student, teacher, target, self.alpha, self.beta, self.tau)
