"""Correlation between classes in a model's logits."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def class_correlation(logits: Tensor) -> Tensor:
    """Compute the Pearson correlation of each pair of classes over the rows.

    A class whose logit is the same in all rows has correlation 0 with every class,
    itself included.

    Args:
        logits (Tensor): Shape (N, C) with N >= 2.

    Returns:
        Tensor: Shape (C, C), from -1 to 1, in float64.

    Raises:
        ValueError: If the shape is not (N, C) with N >= 2.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import class_correlation
        >>> class_correlation(torch.tensor([[1.0, 2.0, 5.0], [2.0, 4.0, 3.0]])).round()
        tensor([[ 1.,  1., -1.],
                [ 1.,  1., -1.],
                [-1., -1.,  1.]], dtype=torch.float64)
    """
    if logits.ndim != 2 or len(logits) < 2:
        raise ValueError(
            'class_correlation needs logits (N, C) with N >= 2, but got the '
            f'shape {tuple(logits.shape)}.'
        )
    centred = logits.double()
    centred = centred - centred.mean(0)
    norm = centred.norm(dim=0)
    # The rounding error of a constant is not variation.
    tiny = torch.finfo(norm.dtype).eps * len(logits) * logits.abs().amax(0)
    unit = centred * torch.where(norm > tiny, norm.reciprocal(), 0.0)
    return (unit.T @ unit).clamp(-1, 1)


def mean_off_diagonal(matrix: Tensor) -> float:
    """Return the mean over pairs of different classes.

    Args:
        matrix (Tensor): Shape (C, C) with C >= 2.

    Returns:
        float: The mean without the diagonal, which compares a class with itself.

    Raises:
        ValueError: If the shape is not (C, C) with C >= 2.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import mean_off_diagonal
        >>> mean_off_diagonal(torch.tensor([[9.0, 1.0], [2.0, 9.0]]))
        1.5
    """
    if matrix.ndim != 2 or len(matrix) != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(
            'mean_off_diagonal needs a matrix (C, C) with C >= 2, but got the '
            f'shape {tuple(matrix.shape)}.'
        )
    own = torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
    return float(matrix[~own].mean())
