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
    z, _, unit = _in_units(logits)
    # Not a mean, for which some releases of torch keep the tensor that changes here.
    centred = z.sub_(z.sum(1, keepdim=True) / z.shape[1])
    std = _deviation(centred)
    divisor = (std + _EPS / unit).masked_fill(std == 0, torch.inf)
    return centred * divisor.reciprocal()


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
    z, offset, unit = _in_units(logits)
    # The deviation has the same gradient for any offset.
    mean = z.detach().mean(1, keepdim=True)
    centred = z.sub_(mean)
    std = _deviation(centred)
    scale = std.masked_fill(std == 0, torch.inf).reciprocal()
    return (centred * scale).add_((offset + mean) * scale), std.detach() * unit


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
    wide = logits.to(compute_dtype(logits))
    rows: Tensor | int = max(1, len(wide))
    everywhere = sum_fn or (lambda part: part)
    if sum_fn is not None:
        own = torch.full((1,), len(wide), dtype=torch.float64, device=wide.device)
        rows = sum_fn(own).clamp(min=1)
    # Differences of quarters are finite; float64 holds the squares of any float32.
    mean = everywhere(wide.sum(0, dtype=torch.float64)) / (4 * rows)
    rounded = mean.to(wide.dtype)
    # What rounding leaves of the mean counts if a class hardly varies.
    rest = (mean - rounded).detach_().to(wide.dtype)
    z = torch.add(-rounded, wide, alpha=0.25).sub_(rest)
    variance = everywhere(z.double().square().sum(0)) / rows
    return z * (variance + _BATCH_EPS / 16).rsqrt().to(wide.dtype)


def row_units(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return an offset and a unit in which the deviations of a row lose no digits.

    ``rows / unit - offset`` is 0 in a constant row, and otherwise of the order of 1.
    The subtraction is exact where a row varies little.

    Args:
        rows (Tensor): Shape (N, C), in float32 or wider.

    Returns:
        tuple[Tensor, Tensor]: The smallest logit in units; and the unit, a power of
        two. Shape (N, 1) each.
    """
    numbers = torch.finfo(rows.dtype)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    # Quarters, because the difference of large logits would overflow.
    size = torch.sub(high / 4, low, alpha=0.25)
    # The offset of a constant row must be finite, too.
    size.add_(low.abs(), alpha=numbers.eps / 8).clamp_(min=numbers.tiny)
    unit = size / torch.frexp(size).mantissa
    return low / unit, unit


def _in_units(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows in their units, in float32 or wider; and offsets and units."""
    check_logits('logits', logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            'logits must have the shape (rows, classes) with at least 2 classes, but '
            f'got {tuple(logits.shape)}.'
        )
    z = logits.to(compute_dtype(logits))
    with torch.no_grad():
        offset, unit = row_units(z)
    return z.div(unit).sub_(offset), offset, unit


def _deviation(centred: Tensor) -> Tensor:
    """Return the standard deviations of rows with a mean of 0, shape (N, 1)."""
    norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return norm / (centred.shape[1] - 1) ** 0.5
