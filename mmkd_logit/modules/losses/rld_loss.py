"""Refined Logit Distillation (RLD), as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import rld_loss
from mmkd_logit.functional._checks import check_not_negative, check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class RLDLoss(LogitLoss):
    """RLD, :func:`mmkd_logit.functional.rld_loss`.

    The paper's warm-up, min(e / 20, 1) in epoch e counted from 1, is
    ``dict(type='mmkd_logit.LossWeightHook', names=['rld'], warmup=20)`` in
    ``custom_hooks``.

    Source: https://arxiv.org/abs/2408.07703

    Args:
        alpha (float): Factor of the term on the teacher's confidence, 0 or more.
            Defaults to 1.0.
        beta (float): Factor of the term on the classes below the label, 0 or more.
            Defaults to 8.0.
        tau (float): Temperature of the ``beta`` term, above 0. Defaults to 4.0.
        alpha_tau (float): Temperature of the ``alpha`` term, above 0. Defaults to 1.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if there is not
            one label per row.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, RLDLoss
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> rows = LogitRows(logits, logits, labels=torch.tensor([0]))
        >>> RLDLoss(beta=2.0)(rows)
        tensor(0.)
    """

    needs_labels = True
    by_row = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        tau: float = 4.0,
        alpha_tau: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_not_negative('alpha', alpha)
        check_not_negative('beta', beta)
        check_positive('tau', tau)
        check_positive('alpha_tau', alpha_tau)
        self.alpha = alpha
        self.beta = beta
        self.tau = tau
        self.alpha_tau = alpha_tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        target = rows.one_label_per_row('RLDLoss')
        factors = self.alpha, self.beta
        return rld_loss(student, teacher, target, *factors, self.tau, self.alpha_tau)
