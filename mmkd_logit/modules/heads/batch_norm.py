"""Batch norm that accepts a single row."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm


class AnyBatchNorm1d(nn.BatchNorm1d):
    """``BatchNorm1d`` that accepts a batch of one row.

    Such a batch, as the last one of an epoch may be, has no variance: torch's batch
    norm raises an error. Here it is normalized by the running statistics.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _running(self, x) if _is_single(self, x) else super().forward(x)


class AnyBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` that accepts a single pixel, like :class:`AnyBatchNorm1d`."""

    def forward(self, x: Tensor) -> Tensor:
        return _running(self, x) if _is_single(self, x) else super().forward(x)


def _is_single(norm: _BatchNorm, x: Tensor) -> bool:
    return norm.training and x.numel() == x.shape[1]


def _running(norm: _BatchNorm, x: Tensor) -> Tensor:
    mean, var = norm.running_mean, norm.running_var
    return batch_norm(x, mean, var, norm.weight, norm.bias, eps=norm.eps)
