"""Knowledge distillation with softened softmax, as a module."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from mmkd_logit.functional import kd_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class KDLoss(LogitLoss):
    """Hinton's distillation loss, :func:`mmkd_logit.functional.kd_loss`.

    Source: https://arxiv.org/abs/1503.02531

    Args:
        tau (float): Temperature, above 0. Defaults to 4.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import KDLoss, LogitRows
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> KDLoss(tau=1.0)(LogitRows(student=logits, teacher=logits))
        tensor(0.)
    """

    by_row = True
    takes_top_k: ClassVar[bool] = True

    def __init__(self, tau: float = 4.0, **common: Any) -> None:
        super().__init__(**common)
        check_positive('tau', tau)
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return kd_loss(student, teacher, self.tau)
