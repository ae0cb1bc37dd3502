"""Calibration: the match between a classifier's confidence and its accuracy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmkd_logit.functional._checks import compute_dtype


class CalibrationBins(NamedTuple):
    """Rows grouped by confidence into bins of equal width from 0 to 1.

    Attributes:
        rows (Tensor): Number of rows in each bin, shape (bins,).
        confidence (Tensor): Their mean confidence, shape (bins,); 0 without rows.
        accuracy (Tensor): Share of correct ones, shape (bins,); 0 without rows.
    """

    rows: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence|, averaged over rows."""
        gap = (self.accuracy - self.confidence).abs()
        return float((gap * self.rows).sum() / self.rows.sum())


@torch.no_grad()
def calibration_bins(logits: Tensor, labels: Tensor, bins: int = 15) -> CalibrationBins:
    r"""Compute a classifier's confidence and accuracy in each bin.

    The confidence of a row is the largest probability of its softmax. Bin :math:`i`
    covers :math:`((i - 1) / B, i / B]`.

    Source: https://arxiv.org/abs/1706.04599

    Args:
        logits (Tensor): Shape (N, C).
        labels (Tensor): Class indices, shape (N,).
        bins (int): Number of bins. Defaults to 15.

    Returns:
        CalibrationBins: In float32 or wider, with the expected calibration error.

    Raises:
        ValueError: If there are no rows, or the shapes do not match, or
            ``bins`` is below 1.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import calibration_bins
        >>> logits = torch.tensor([[0.75, 0.25], [0.75, 0.25]]).log()
        >>> print(f'{calibration_bins(logits, torch.tensor([0, 1])).error:.4f}')
        0.2500
    """
    if logits.ndim != 2 or logits.shape[:1] != labels.shape or not len(labels):
        raise ValueError(
            'calibration_bins needs logits (N, C) and labels (N,) with N >= 1, '
            f'but got the shapes {tuple(logits.shape)} and {tuple(labels.shape)}.'
        )
    if bins < 1:
        raise ValueError(f'bins must be 1 or more, but got {bins}.')
    probability = logits.to(compute_dtype(logits)).softmax(1)
    confidence, named = probability.max(1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(bins).index_add_(0, index, values)

    count = total(torch.ones_like(confidence))
    divisor = count.clamp(min=1)
    right = (named == labels).to(confidence)
    return CalibrationBins(count, total(confidence) / divisor, total(right) / divisor)
