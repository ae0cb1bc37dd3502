"""Logit standardization: the z-score in front of a distillation loss."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import compute_dtype

_EPS = 1e-7


def standardize(logits: Tensor) -> Tensor:
    r"""Z-score of each row: :math:`(z - \bar z) / (10^{-7} + \mathrm{std}(z))`.

    The standard deviation is the unbiased one (divided by C - 1). A constant row
    becomes zeros, and gets no gradient: it has no direction to move in.

    Source: https://arxiv.org/abs/2403.01427

    Args:
        logits (Tensor): Logits of shape (N, C) with C of 2 or more.

    Returns:
        Tensor: Shape (N, C), in float32 or wider.

    Raises:
        TypeError: If the input is not a floating point tensor.
        ValueError: If the shape is not (N, C) with C of 2 or more.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import standardize
        >>> standardize(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).round()
        tensor([[-1.,  0.,  1.],
                [ 0.,  0.,  0.]])
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits)
        raise TypeError(f'logits must be a floating point tensor, but got {got}.')
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            'logits must have the shape (rows, classes) with at least 2 classes, but '
            f'got {tuple(logits.shape)}.'
        )
    z = logits.to(compute_dtype(logits))
    if len(z) == 0:  # of which torch warns
        return z
    # A z-score does not depend on the unit: a power of two as the unit keeps the
    # squares of large logits finite, and changes no digit.
    with torch.no_grad():
        size = z.abs().amax(1, keepdim=True).clamp(min=1.0)
        unit = torch.ldexp(torch.ones_like(size), torch.frexp(size).exponent - 1)
    z = z / unit
    std, mean = torch.std_mean(z, dim=1, keepdim=True)
    scale = (std + _EPS / unit).reciprocal()
    return (z - mean) * torch.where(std > 0, scale, 0.0)
