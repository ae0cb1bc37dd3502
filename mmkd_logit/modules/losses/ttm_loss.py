"""Transformed Teacher Matching (TTM and WTTM), as modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.functional import ttm_loss, wttm_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class TTMLoss(LogitLoss):
    """TTM, :func:`mmkd_logit.functional.ttm_loss`.

    Source: https://arxiv.org/abs/2402.11148

    Args:
        gamma (float): Exponent of the teacher's probabilities, above 0; one over a
            temperature. Defaults to 0.1.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, TTMLoss
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> TTMLoss(gamma=0.5)(LogitRows(student=logits, teacher=2 * logits))
        tensor(0.)
    """

    by_row = True

    def __init__(self, gamma: float = 0.1, **common: Any) -> None:
        super().__init__(**common)
        check_positive('gamma', gamma)
        self.gamma = gamma

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return ttm_loss(student, teacher, self.gamma)


class WTTMLoss(TTMLoss):
    """WTTM, :func:`mmkd_logit.functional.wttm_loss`.

    Takes the settings of :class:`TTMLoss`.

    Source: https://arxiv.org/abs/2402.11148

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, WTTMLoss
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> WTTMLoss(gamma=0.5)(LogitRows(student=logits, teacher=2 * logits))
        tensor(0.)
    """

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return wttm_loss(student, teacher, self.gamma)
