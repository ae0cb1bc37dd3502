"""KD with an adversarially learned temperature (CTKD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.functional import ctkd_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class CTKDLoss(LogitLoss):
    r"""Hinton's distillation loss at a temperature that learns to make it harder.

    The temperature is :math:`\tau_0 + \tau_1 \, \mathrm{sigmoid}(\theta)`, where
    :math:`\theta` is learned, starting at 1: with the defaults it starts at 15.6. Its
    gradient is multiplied by ``reversal``, which ``CurriculumHook`` moves from 0 to -1
    and which is -1 without that hook, so that the temperature ascends the loss that the
    student descends. It is logged as ``<name>_temperature``.

    It is trained by the student's optimizer, with its weight decay, as in the released
    code.
    To exempt it, set ``custom_keys={'theta': dict(decay_mult=0.0)}`` in
    ``optim_wrapper.paramwise_cfg``.

    Source: https://arxiv.org/abs/2211.16231, with one temperature for all images.
    With several processes, the released code learns one in each; here they share one.

    Args:
        min_tau (float): Lower bound of the temperature, above 0. Defaults to 1.0.
        tau_range (float): Upper bound minus the lower one, above 0. Defaults to 20.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import CTKDLoss, LogitRows
        >>> loss = CTKDLoss()
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> print(f'{loss(LogitRows(student=logits, teacher=-logits)):.2f}')
        1.75
        >>> print(f'{loss.temperature:.2f}')
        15.62
    """

    by_row = True

    reversal: float | None
    """Current factor of the temperature's gradient, set by ``CurriculumHook``; None
    before the first step."""

    def __init__(
        self, min_tau: float = 1.0, tau_range: float = 20.0, **common: Any
    ) -> None:
        super().__init__(**common)
        check_positive('min_tau', min_tau)
        check_positive('tau_range', tau_range)
        self.min_tau = min_tau
        self.tau_range = tau_range
        self.theta = nn.Parameter(torch.ones(()))
        self.reversal = None

    @property
    def temperature(self) -> Tensor:
        """The current temperature, shape ()."""
        return self.min_tau + self.tau_range * torch.sigmoid(self.theta.detach())

    def begin(self, images: int | None) -> str | None:
        """Warn if there is no curriculum."""
        if self.reversal is not None:
            return None
        self.reversal = -1.0
        return (
            'CTKDLoss has no curriculum: from the first step on, its temperature is '
            "learned at full speed. Add dict(type='mmkd_logit.CurriculumHook') to "
            'custom_hooks to begin slowly, as its authors do.'
        )

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        fixed = self.theta.detach()
        reversal = -1.0 if self.reversal is None else self.reversal
        # The difference is 0, but not its gradient.
        theta = fixed + reversal * (self.theta - fixed)
        tau = self.min_tau + self.tau_range * torch.sigmoid(theta)
        return ctkd_loss(student, teacher, tau)

    def statistics(self) -> dict[str, Tensor]:
        return {'temperature': self.temperature}
