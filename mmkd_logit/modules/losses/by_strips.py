"""Losses of rows that are made strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmkd_logit.functional._closed_form import refuse_second_derivative
from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.structures.logit_rows import PullBack

if TYPE_CHECKING:
    from mmkd_logit.modules.losses.base import LogitLoss

Statistic = Callable[[LogitRows], Tensor]


def losses_of(
    losses: Sequence[LogitLoss],
    rows: LogitRows | LogitStrips,
    statistics: Sequence[Statistic] = (),
) -> list[Tensor]:
    """Compute several losses of the same rows, in strips where possible.

    Each strip is made once: all its losses and their gradients are computed, the
    gradients are propagated back to the maps, and the strip is discarded.

    Args:
        losses (Sequence[LogitLoss]): The losses.
        rows (LogitRows | LogitStrips): The rows of a step.
        statistics (Sequence[Callable]): Each takes rows and returns a mean over them,
            0 if there are none, without gradient. Defaults to ().

    Returns:
        list[Tensor]: Scalars: the losses, weighted, then the statistics.
    """
    if isinstance(rows, LogitRows):
        return [
            *(loss(rows) for loss in losses),
            *(statistic(rows) for statistic in statistics),
        ]
    striped = {
        index: _StripedLoss(loss, rows)
        for index, loss in enumerate(losses)
        if loss.takes_strips and loss.weight != 0 and len(rows) > 0
    }
    means = [rows.source('main').new_zeros((), dtype=torch.float64) for _ in statistics]
    if striped or statistics:
        for strip, pull_back in rows.strips():
            for each in striped.values():
                each.add(strip, pull_back)
            for mean, statistic in zip(means, statistics):
                mean += statistic(strip) * (len(strip) / len(rows))
    return [
        *(
            striped[index].total() if index in striped else loss(rows)
            for index, loss in enumerate(losses)
        ),
        *(mean.float() for mean in means),
    ]


class _StripedLoss:
    """A loss accumulated over strips, with its gradient."""

    def __init__(self, loss: LogitLoss, rows: LogitStrips) -> None:
        source = rows.source(loss.head)
        self._loss = loss
        self._rows = len(rows)
        self._params = [each for each in loss.parameters() if each.requires_grad]
        self._sources = [source, *self._params]
        self._grads: list[Tensor] = []
        if torch.is_grad_enabled() and any(s.requires_grad for s in self._sources):
            zeros = [torch.zeros_like(param) for param in self._params]
            self._grads = [rows.new_grad(loss.head), *zeros]
        self._sum = source.new_zeros((), dtype=torch.float64)
        self._dtype = torch.float32

    def add(self, strip: LogitRows, pull_back: PullBack) -> None:
        """Add a strip's share of the mean over all rows."""
        logits = strip.source(self._loss.head)
        with torch.set_grad_enabled(bool(self._grads)):
            logits.requires_grad_(bool(self._grads))
            value = self._loss(strip) * (len(strip) / self._rows)
        self._sum += value.detach()
        self._dtype = value.dtype
        if value.requires_grad:
            inputs = [logits, *self._params]
            slope, *others = torch.autograd.grad(value, inputs, allow_unused=True)
            if slope is not None:
                pull_back(self._loss.head, slope, self._grads[0])
            for total, grad in zip(self._grads[1:], others):
                if grad is not None:
                    total += grad

    def total(self) -> Tensor:
        """Return the loss of all rows, as part of the graph of the step."""
        value = self._sum.to(self._dtype)
        if not self._grads:
            return value
        return _Known.apply(value, len(self._grads), *self._grads, *self._sources)


class _Known(torch.autograd.Function):
    """A scalar whose gradients are already known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.dtypes = [source.dtype for source in tensors[count:]]
        ctx.save_for_backward(*tensors[:count])
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        # Scaled in the backward pass, after the loss scale of mixed precision.
        grads = [
            (grad * grad_output).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes)
        ]
        return None, None, *(None for _ in grads), *grads
