"""DIST, correlations in place of a divergence, as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd_logit.dist import get_world_size, sum_over_ranks
from mmkd_logit.functional._checks import check_finite, check_positive
from mmkd_logit.functional.dist_loss import dist_loss_over_ranks
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class DISTLoss(LogitLoss):
    """Correlations of rows and classes, :func:`mmkd_logit.functional.dist_loss`.

    With several processes, a class is correlated over the rows of all of them, with the
    same result as in one process.

    Source: https://arxiv.org/abs/2205.10536. The released code correlates the classes
    in each process separately and, in segmentation, includes ignored pixels.

    Args:
        beta (float): Weight of the row term. Defaults to 1.0.
        gamma (float): Weight of the class term. Defaults to 1.0.
        tau (float): Temperature, above 0. Defaults to 1.0.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import DISTLoss, LogitRows
        >>> student = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
        >>> DISTLoss()(LogitRows(student=student, teacher=teacher))
        tensor(0.2158)
    """

    gathers = True

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, tau: float = 1.0, **common: Any
    ) -> None:
        super().__init__(**common)
        check_finite('beta', beta)
        check_finite('gamma', gamma)
        check_positive('tau', tau)
        self.beta = beta
        self.gamma = gamma
        self.tau = tau

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return dist_loss_over_ranks(
            *(student, teacher, self.beta, self.gamma, self.tau),
            sum_over_ranks,
            get_world_size(),
        )
