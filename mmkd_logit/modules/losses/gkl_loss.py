"""Generalised Kullback-Leibler divergence (DKL and IKL), as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import gkl_loss
from mmkd_logit.functional._checks import check_not_negative, check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class GKLLoss(LogitLoss):
    """GKL, :func:`mmkd_logit.functional.gkl_loss`.

    Source: https://arxiv.org/abs/2305.13948

    Args:
        alpha (float): Factor of the cross entropy, 0 or more. Defaults to 1.0.
        beta (float): Factor of the pairs' term, 0 or more. Defaults to 1.0.
        tau (float): Temperature of the cross entropy, above 0. Defaults to 1.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import GKLLoss, LogitRows
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> GKLLoss(alpha=0.0)(LogitRows(student=logits, teacher=logits))
        tensor(0.)
    """

    by_row = True

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, tau: float = 1.0, **common: Any
    ) -> None:
        super().__init__(**common)
        check_not_negative('alpha', alpha)
        check_not_negative('beta', beta)
        check_positive('tau', tau)
        self.alpha = alpha
        self.beta = beta
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return gkl_loss(student, teacher, self.alpha, self.beta, self.tau)
