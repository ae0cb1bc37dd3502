"""Standardization of logits before a distillation loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_logits, compute_dtype

_EPS = 1e-7
# Added to a variance over a batch, as in the released code.
_BATCH_EPS = 1e-5


def standardize(logits: Tensor) -> Tensor:
    r"""Standardize each row: :math:`(z - \bar z) / (10^{-7} + \mathrm{std}(z))`.

    The standard deviation is the unbiased one (divided by C - 1). A constant row
    becomes zeros, and gets no gradient: it has no direction to move in.

    Source: https://arxiv.org/abs/2403.01427

    Args:
        logits (Tensor): Logits of shape (N, C) with C >= 2.

    Returns:
        Tensor: Shape (N, C), in float32 or wider.

    Raises:
        TypeError: If the input is not a floating point tensor.
        ValueError: If the shape is not (N, C) with C >= 2.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import standardize
        >>> standardize(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).round()
        tensor([[-1.,  0.,  1.],
                [ 0.,  0.,  0.]])
    """
    z, unit = _in_units(logits)
    if len(z) == 0:  # torch would warn
        return z
    std, mean = torch.std_mean(z, dim=1, keepdim=True)
    scale = (std + _EPS / unit).reciprocal()
    return (z - mean) * torch.where(std > 0, scale, 0.0)


def scale_by_std(logits: Tensor) -> tuple[Tensor, Tensor]:
    r"""Divide each row by its standard deviation, :math:`z / \mathrm{std}(z)`.

    A softmax of the result has a separate temperature for each row. The standard
    deviation is the unbiased one (divided by C - 1). A constant row becomes zeros, and
    gets no gradient.

    Source: https://arxiv.org/abs/2308.00520

    Args:
        logits (Tensor): Logits of shape (N, C) with C >= 2.

    Returns:
        tuple[Tensor, Tensor]: Shape (N, C), and the standard deviations, shape (N, 1)
        and without gradient; in float32 or wider.

    Raises:
        TypeError: If the input is not a floating point tensor.
        ValueError: If the shape is not (N, C) with C >= 2.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import scale_by_std
        >>> z, std = scale_by_std(torch.tensor([[2.0, 4.0, 6.0], [5.0, 5.0, 5.0]]))
        >>> z
        tensor([[1., 2., 3.],
                [0., 0., 0.]])
        >>> std
        tensor([[2.],
                [0.]])
    """
    z, unit = _in_units(logits)
    if len(z) == 0:
        return z, z.detach()[:, :1]
    std = z.std(1, keepdim=True)
    return z * torch.where(std > 0, std.reciprocal(), 0.0), std.detach() * unit


def standardize_classes(
    logits: Tensor, sum_fn: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    r"""Standardize each class over the rows of a batch.

    .. math::
        (z_{nc} - \mu_c) / \sqrt{\sigma_c^2 + 10^{-5}}

    The variance is the biased one (divided by N). The gradient flows through mean and
    variance, from each row to all rows.

    Source: https://arxiv.org/abs/2310.03669

    Args:
        logits (Tensor): Logits of shape (N, C).
        sum_fn (Callable, optional): Sums a tensor, and its gradient, over the processes
            that share a batch. Defaults to None: there is one process.

    Returns:
        Tensor: Shape (N, C), in float32 or wider.

    Raises:
        TypeError: If the input is not a floating point tensor.
        ValueError: If the shape is not (N, C).

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import standardize_classes
        >>> standardize_classes(torch.tensor([[1.0, 0.0], [3.0, 0.0]])).round()
        tensor([[-1.,  0.],
                [ 1.,  0.]])
    """
    check_logits('logits', logits)
    if logits.ndim != 2:
        raise ValueError(
            'logits must have the shape (rows, classes), but got '
            f'{tuple(logits.shape)}.'
        )
    everywhere = sum_fn or (lambda part: part)
    dtype = compute_dtype(logits)
    # Differences of quarters are finite; float64 holds the squares of any float32.
    z = logits.to(dtype) / 4
    own = torch.full((1,), len(z), dtype=torch.float64, device=z.device)
    rows = everywhere(own).clamp(min=1)
    mean = everywhere(z.sum(0, dtype=torch.float64)) / rows
    z = z - mean.to(dtype)
    variance = everywhere(z.double().square().sum(0)) / rows
    return z * (variance + _BATCH_EPS / 16).rsqrt().to(dtype)


def _in_units(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each row by a power of two, in float32 or wider; return that too."""
    check_logits('logits', logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            'logits must have the shape (rows, classes) with at least 2 classes, but '
            f'got {tuple(logits.shape)}.'
        )
    z = logits.to(compute_dtype(logits))
    # Quotients do not depend on the unit. A power of two keeps the squares of large
    # logits finite, and changes no digit.
    with torch.no_grad():
        size = z.abs().amax(1, keepdim=True).clamp(min=1.0)
        unit = torch.ldexp(torch.ones_like(size), torch.frexp(size).exponent - 1)
    return z / unit, unit
