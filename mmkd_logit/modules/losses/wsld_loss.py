"""Weighted Soft Label Distillation (WSLD), as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import wsld_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class WSLDLoss(LogitLoss):
    """WSLD, :func:`mmkd_logit.functional.wsld_loss`.

    The paper's factor, 2.5 on ImageNet and 2.25 on CIFAR-100, is ``loss_weight``.

    Source: https://arxiv.org/abs/2102.00650

    Args:
        tau (float): Temperature, above 0. Defaults to 2.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if there is not
            one label per row.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, WSLDLoss
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> rows = LogitRows(logits, logits, labels=torch.tensor([0]))
        >>> print(f'{WSLDLoss(loss_weight=2.5)(rows):.4f}')
        6.1652
    """

    needs_labels = True
    by_row = True

    def __init__(self, tau: float = 2.0, **common: Any) -> None:
        super().__init__(**common)
        check_positive('tau', tau)
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        target = rows.one_label_per_row('WSLDLoss')
        return wsld_loss(student, teacher, target, self.tau)
