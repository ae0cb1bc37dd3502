"""The logit-level losses of DHKD, as modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import binary_kl_loss, binary_kl_norm_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class BinaryKLLoss(LogitLoss):
    """BinaryKL, :func:`mmkd_logit.functional.binary_kl_loss`.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        tau (float): Temperature, above 0. Defaults to 2.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import BinaryKLLoss, LogitRows
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> BinaryKLLoss()(LogitRows(student=logits, teacher=logits))
        tensor(0.)
    """

    by_row = True

    def __init__(self, tau: float = 2.0, **common: Any) -> None:
        super().__init__(**common)
        check_positive('tau', tau)
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return binary_kl_loss(student, teacher, self.tau)


class BinaryKLNormLoss(BinaryKLLoss):
    """BinaryKL-Norm, :func:`mmkd_logit.functional.binary_kl_norm_loss`.

    Takes the settings of :class:`BinaryKLLoss`.

    Source: https://arxiv.org/abs/2411.08937

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import BinaryKLNormLoss, LogitRows
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> BinaryKLNormLoss()(LogitRows(student=logits, teacher=logits))
        tensor(0.)
    """

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return binary_kl_norm_loss(student, teacher, self.tau)
