"""Neural collapse of a classifier's last layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class NeuralCollapse(NamedTuple):
    """Result of :func:`neural_collapse`; full collapse is 0, 0, 0, 0 and 1.

    Attributes:
        nc1 (float): Within-class variability of the features, 0 or more. Infinite if
            all classes have the same mean.
        nc2_means (float): Distance of the centred class means from a simplex
            equiangular tight frame (ETF), 0 to sqrt(2).
        nc2_weights (float): The same distance for the classifier's weights.
        nc3 (float): Distance of the weights from the class means, 0 to 2.
        nc4 (float): Share of rows, 0 to 1, for which the classifier predicts the class
            whose mean is nearest.
    """

    nc1: float
    nc2_means: float
    nc2_weights: float
    nc3: float
    nc4: float


@torch.no_grad()
def neural_collapse(
    features: Tensor, logits: Tensor, labels: Tensor, weight: Tensor
) -> NeuralCollapse:
    r"""Compute the four measures of neural collapse, in float64.

    With the means :math:`\mu_c` of the classes, their mean :math:`\mu`, the matrix
    :math:`M` of the rows :math:`\mu_c - \mu`, and the weights :math:`W`:

    .. math::
        \mathrm{NC1} &= \tfrac1C \operatorname{tr}(S_W S_B^+), \quad
            S_W = \operatorname{mean}_c \operatorname{cov}_c, \quad
            S_B = \tfrac1C M^\top M \\
        \mathrm{NC2}(A) &= \left\| \frac{A A^\top}{\|A A^\top\|_F} -
            \frac{I - \frac1C 1 1^\top}{\sqrt{C - 1}} \right\|_F,
            \quad A = M \text{ or } W \\
        \mathrm{NC3} &= \left\| \frac{W}{\|W\|_F} - \frac{M}{\|M\|_F} \right\|_F \\
        \mathrm{NC4} &= \operatorname{mean}_n \left[ \arg\max_c z_{nc} =
            \arg\min_c \|h_n - \mu_c\| \right]

    Every class counts the same, however many rows it has. Classes without rows are
    left out of all matrices and of :math:`C`; only NC2 of the weights is of all
    classes. The weights of :math:`K` of :math:`C` classes are then not centred, so that
    NC3 of a full collapse is not 0, but
    :math:`\sqrt{2 - 2 \sqrt{(C K - C) / (C K - K)}}`. More than D + 1 classes cannot
    form a simplex in D dimensions: NC2 then cannot fall below
    :math:`\sqrt{2 - 2 \sqrt{D / (C - 1)}}`.

    Source: https://arxiv.org/abs/2008.08186; NC2 as in
    https://arxiv.org/abs/2105.02375

    Args:
        features (Tensor): Inputs of the last layer, shape (N, D).
        logits (Tensor): Outputs of the last layer, shape (N, C).
        labels (Tensor): Class indices, shape (N,).
        weight (Tensor): Weight of the last layer, shape (C, D).

    Returns:
        NeuralCollapse: Five numbers.

    Raises:
        ValueError: If the shapes do not match, a label is out of range, a feature
            is not finite, or fewer than two classes have rows.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import neural_collapse
        >>> means = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
        >>> labels = torch.tensor([0, 1, 2, 0, 1, 2])
        >>> features = means[labels]
        >>> nc = neural_collapse(features, features @ means.T, labels, weight=means)
        >>> [round(value, 4) for value in nc]
        [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    _check(features, logits, labels, weight)
    features, weight = features.double(), weight.double()
    size = features.abs().max()
    # A common offset of the features would cost digits.
    features = features - features.mean(0)
    present, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(present), features.shape[1])
    class_means = sums.index_add_(0, labels, features) / counts[:, None]
    centre = class_means.mean(0)
    means = class_means - centre
    nearest = torch.cdist(features - centre, means).argmin(1)
    named = logits[:, present].argmax(1)
    deviations = features - class_means[labels]
    return NeuralCollapse(
        nc1=_within_class_variability(deviations, means, labels, size),
        nc2_means=_distance_from_etf(means),
        nc2_weights=_distance_from_etf(weight),
        nc3=float((_unit(weight[present]) - _unit(means)).norm()),
        nc4=float((named == nearest).double().mean()),
    )


def _within_class_variability(
    deviations: Tensor, means: Tensor, labels: Tensor, size: Tensor
) -> float:
    # tr(S_W S_B^+) in the singular vectors of the means: no (D, D) matrix is needed.
    _, values, vectors = torch.linalg.svd(means, full_matrices=False)
    kept = values > max(means.shape) * torch.finfo(means.dtype).eps * size
    if not kept.any():
        return float('inf')
    squares = (deviations @ (vectors[kept] / values[kept, None]).T).square().sum(1)
    counts = labels.bincount()
    return float((squares / counts[labels]).sum() / len(counts))


def _distance_from_etf(rows: Tensor) -> float:
    classes = len(rows)
    etf = torch.eye(classes).to(rows) - 1 / classes
    return float((_unit(rows @ rows.T) - etf / (classes - 1) ** 0.5).norm())


def _unit(matrix: Tensor) -> Tensor:
    """Divide by the Frobenius norm; zeros stay zeros."""
    return matrix / matrix.norm().clamp(min=torch.finfo(matrix.dtype).tiny)


def _check(features: Tensor, logits: Tensor, labels: Tensor, weight: Tensor) -> None:
    shapes = [tuple(each.shape) for each in (features, logits, labels, weight)]
    rows, size = (*shapes[0], 0, 0)[:2]
    classes = shapes[3][0] if weight.ndim else 0
    if shapes != [(rows, size), (rows, classes), (rows,), (classes, size)]:
        raise ValueError(
            'neural_collapse needs features (N, D), logits (N, C), labels (N,) and a '
            f'weight (C, D), but got the shapes {", ".join(map(str, shapes))}.'
        )
    if rows and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f'labels must be from 0 to {classes - 1}, but go from {int(labels.min())} '
            f'to {int(labels.max())}.'
        )
    if not bool(features.isfinite().all()):
        raise ValueError('neural_collapse needs finite features, but some are not.')
    found = len(labels.unique())
    if found < 2:
        raise ValueError(
            'neural_collapse compares classes and needs rows of at least two, but '
            f'got {rows} rows of {found}. Use a larger sample.'
        )
