"""Normalized Logits for Knowledge Distillation (NormKD), as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import normkd_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class NormKDLoss(LogitLoss):
    """NormKD, :func:`mmkd_logit.functional.normkd_loss`.

    The row transform 'scale_by_std' gives other losses the temperatures of NormKD, but
    not the factor that it applies to each row.

    Source: https://arxiv.org/abs/2308.00520

    Args:
        tau (float): Temperature in standard deviations, above 0. Defaults to 2.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if there is only
            one class.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, NormKDLoss
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> NormKDLoss()(LogitRows(student=2 * logits, teacher=logits))
        tensor(0.)
    """

    by_row = True

    def __init__(self, tau: float = 2.0, **common: Any) -> None:
        super().__init__(**common)
        check_positive('tau', tau)
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return normkd_loss(student, teacher, self.tau)
