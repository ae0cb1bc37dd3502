"""Channel-wise distillation (CWD) of logits, as a module."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from mmkd_logit.functional import cwd_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class CWDLoss(LogitLoss):
    """CWD, :func:`mmkd_logit.functional.cwd_loss`.

    For segmentation only. Ignored pixels are in no softmax, unlike in the released
    code, and an image in which all are ignored does not count.

    Source: https://arxiv.org/abs/2011.13256

    Args:
        tau (float): Temperature, above 0. Defaults to 4.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or, during a step, if the rows do
            not say which image of the batch they belong to.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import CWDLoss, LogitRows
        >>> student = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> teacher = torch.tensor([[4.0, 0.0], [0.0, 3.0], [2.0, 2.0]])
        >>> place = torch.tensor([0, 0, 1])
        >>> CWDLoss()(LogitRows(student, teacher, batch_index=place))
        tensor(0.2200)
    """

    needs_pixels: ClassVar[bool] = True

    def __init__(self, tau: float = 4.0, **common: Any) -> None:
        super().__init__(**common)
        check_positive('tau', tau)
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        if rows.batch_index is None:
            raise ValueError(
                'CWDLoss compares the pixels of an image, but the rows do not say '
                'which image of the batch they belong to. Give LogitRows a batch_index.'
            )
        return cwd_loss(student, teacher, rows.batch_index, self.tau)
