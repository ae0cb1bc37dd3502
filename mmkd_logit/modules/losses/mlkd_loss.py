"""Multi-Level Logit Distillation (MLKD), one view, as a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mmkd_logit.dist import get_world_size, sum_over_ranks
from mmkd_logit.functional import multi_temperature_kd_loss
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.functional.mlkd import correlations_over_ranks
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.structures import LogitRows


class MLKDLoss(LogitLoss):
    """KD, class correlation and batch correlation at several temperatures.

    The sum of :func:`mmkd_logit.functional.kd_loss`,
    :func:`~mmkd_logit.functional.class_correlation_loss` and
    :func:`~mmkd_logit.functional.batch_correlation_loss` over the temperatures. Each
    can be switched off, so that two losses can give the terms different transforms or
    weights. With several processes, the rows of all of them count, with the same result
    as in one process.

    Source: CVPR 2023, Jin et al., "Multi-Level Logit Distillation". The released code
    also trains on a second, strongly augmented view. Its confidence masks multiply
    means, and so act as factors of about one half; this loss does not have them.

    Args:
        taus (Sequence[float]): Temperatures, above 0. Defaults to
            (2.0, 3.0, 4.0, 5.0, 6.0).
        kd (bool): Whether to include the KD term. Defaults to True.
        class_correlation (bool): Whether to include the class correlation. Defaults
            to True.
        batch_correlation (bool): Whether to include the batch correlation. Defaults
            to True.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, ``taus`` is empty, or all terms are
            off.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, MLKDLoss
        >>> student = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> teacher = torch.tensor([[8.0, 0.0], [0.0, 0.0]])
        >>> MLKDLoss(taus=(4.0,), kd=False)(LogitRows(student, teacher))
        tensor(0.1343)
    """

    gathers = True

    def __init__(
        self,
        taus: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        kd: bool = True,
        class_correlation: bool = True,
        batch_correlation: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if not isinstance(taus, list | tuple) or not taus:
            raise ValueError(
                'taus must be a list of temperatures, such as (2.0, 4.0), but got '
                f'{taus!r}.'
            )
        for tau in taus:
            check_positive('Each of taus', tau)
        switches = {'class': class_correlation, 'batch': batch_correlation}
        self.taus = tuple(taus)
        self.kd = kd
        self.correlations = [name for name, on in switches.items() if on]
        if not (kd or self.correlations):
            raise ValueError(
                'MLKDLoss needs at least one of kd, class_correlation and '
                'batch_correlation, but all are off.'
            )

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        loss = student[:0].sum()
        if self.kd:
            kd = multi_temperature_kd_loss(student, teacher, self.taus)
            # DDP takes the mean over processes; this makes it the mean over all rows.
            mine = kd.new_tensor(len(student))
            loss = kd * (mine * get_world_size() / sum_over_ranks(mine).clamp(min=1))
        if self.correlations:
            loss = loss + correlations_over_ranks(
                *(student, teacher, self.taus, self.correlations),
                sum_over_ranks,
                get_world_size(),
            )
        return loss
