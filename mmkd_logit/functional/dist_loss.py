"""DIST: correlations of student and teacher instead of a divergence."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_finite
from mmkd_logit.functional._closed_form import loss_of_sum
from mmkd_logit.functional._soft_rows import SoftRows, SumOverRanks, alone

# Added to the product of both norms, as in the released code.
_EPS = 1e-8


def dist_loss(
    student: Tensor,
    teacher: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    tau: float = 1.0,
) -> Tensor:
    r"""Compute the Pearson distance of the probabilities, by row and by class.

    .. math::
        L = \tau^2 \left[ \beta \Bigl( 1 - \frac1N \sum_n \rho(q_n, p_n) \Bigr)
            + \gamma \Bigl( 1 - \frac1C \sum_c \rho(q_{:c}, p_{:c}) \Bigr) \right]

    Here :math:`q = \mathrm{softmax}(s / \tau)`, :math:`p = \mathrm{softmax}(t / \tau)`,
    and :math:`\rho` is the dot product of both sides, centred, over the product of
    their norms plus :math:`10^{-8}`, as in the released code. Where one side does not
    vary, such as the classes of a single row, :math:`\rho` is 0 and has no gradient.

    Source: https://arxiv.org/abs/2205.10536

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        beta (float): Weight of the row term. Defaults to 1.0.
        gamma (float): Weight of the class term. Defaults to 1.0.
        tau (float): Temperature, above 0. Defaults to 1.0.

    Returns:
        Tensor: A scalar in float32 or wider; 0 if there are no rows.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), ``beta`` or ``gamma`` is
            not a finite number, or ``tau`` is not a finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import dist_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
        >>> print(f'{dist_loss(student, teacher):.4f}')
        0.2158
    """
    return dist_loss_over_ranks(student, teacher, beta, gamma, tau, alone, 1)


def dist_loss_over_ranks(
    student: Tensor,
    teacher: Tensor,
    beta: float,
    gamma: float,
    tau: float,
    sum_over_ranks: SumOverRanks,
    ranks: int,
) -> Tensor:
    """Compute :func:`dist_loss` over the rows of all processes.

    Args:
        student (Tensor): Logits of shape (N, C), the rows of this process.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        beta (float): Weight of the row term.
        gamma (float): Weight of the class term.
        tau (float): Temperature, above 0.
        sum_over_ranks (Callable): Sums a tensor over all processes.
        ranks (int): Number of processes.

    Returns:
        Tensor: A scalar. Averaged over processes, it and its gradient equal those of
        one process with all rows.
    """
    check_finite('beta', beta)
    check_finite('gamma', gamma)
    soft = SoftRows(student, teacher, tau)

    def sum_fn(wants_grad: bool) -> tuple[Tensor, Tensor | None]:
        agreement, in_row, classes = _go_over(soft)
        rows, mean, moments = classes.over_ranks(sum_over_ranks)
        some = rows.clamp(min=1)
        # A constant class varies by rounding: far less than by a step of float32, or by
        # some steps of float64, in which sums are kept.
        eps = max(torch.finfo(soft.dtype).eps / 100, 16 * torch.finfo(mean.dtype).eps)
        in_class, *to_class = _pearson(moments, some * (eps * mean).square())
        total = beta * ranks * (len(student) - agreement) / some
        total = total + gamma * (1 - in_class.mean()) * (rows > 0)
        if not wants_grad:
            return total * soft.one, None
        grad = torch.empty_like(student, dtype=soft.dtype)
        in_row *= (-beta * ranks / some).to(in_row.dtype)
        share = -gamma * ranks / student.shape[1]
        to_p, to_q = (x.mul_(share).to(soft.dtype) for x in to_class)
        mean_q, mean_p = mean.to(soft.dtype)
        # What rounding leaves of the means counts if a class hardly varies.
        rest_q, rest_p = (mean_q - mean[0]) * to_q, (mean_p - mean[1]) * to_p
        start = (rest_q + rest_p).to(soft.dtype)
        average = 1 / student.shape[1]
        for part, q, p in soft:
            row_p, row_q = in_row[:, part, None]
            slope = torch.addcmul(start, p - mean_p, to_p)
            slope.addcmul_(q - mean_q, to_q)
            # The last pass: p may be overwritten.
            slope.addcmul_(p.sub_(average), row_p).addcmul_(q - average, row_q)
            grad[part] = soft.back(q, slope)
        return total * soft.one, grad

    return loss_of_sum(student, soft.dtype, sum_fn, tau**2)


class _ClassMoments:
    """Means of the classes, and sums of squares around them, of rows added in parts.

    Parts are merged by adding positive terms, so that no digits cancel.
    """

    def __init__(self, like: Tensor) -> None:
        self.rows = like.new_zeros((), dtype=torch.float64)
        self.mean = like.new_zeros(2, like.shape[1], dtype=torch.float64)
        self.moments = like.new_zeros(3, like.shape[1], dtype=torch.float64)

    def add(self, q: Tensor, p: Tensor) -> None:
        """Add rows of probabilities, shape (n, C)."""
        rounded = torch.stack([x.mean(0) for x in (q, p)])
        q, p = q - rounded[0], p - rounded[1]
        rest = torch.stack([x.sum(0) for x in (q, p)]).double() / len(q)
        off = rounded + rest - self.mean
        rows = self.rows + len(q)
        self.moments += _products(q, p, 0) - _apart(rest) * len(q)
        self.moments += _apart(off) * (self.rows * len(q) / rows)
        self.mean += off * (len(q) / rows)
        self.rows = rows

    def over_ranks(self, sum_over_ranks: SumOverRanks) -> tuple[Tensor, Tensor, Tensor]:
        """Return row count, means (2, C) and moments (3, C) over all processes."""
        packed = sum_over_ranks(
            torch.cat([self.rows[None], (self.rows * self.mean).flatten()])
        )
        rows = packed[0]
        mean = packed[1:].view_as(self.mean) / rows.clamp(min=1)
        moments = self.moments + self.rows * _apart(self.mean - mean)
        return rows, mean, sum_over_ranks(moments)


def _go_over(soft: SoftRows) -> tuple[Tensor, Tensor, _ClassMoments]:
    """Return the sum of row correlations, their slopes (2, N) and class moments."""
    rows, classes = soft.student.shape
    agreement = soft.one.new_zeros((), dtype=torch.float64)
    slopes = soft.one.new_empty(2, rows)
    moments = _ClassMoments(soft.student)
    for part, q, p in soft:
        # Exactly 0 in a constant row.
        products = _products(q - 1 / classes, p - 1 / classes, 1)
        each, slopes[0, part], slopes[1, part] = _pearson(products)
        agreement += each.sum()
        moments.add(q, p)
    return agreement, slopes, moments


def _products(q: Tensor, p: Tensor, dim: int) -> Tensor:
    """Return the sums of q^2, p^2 and q p along a dimension, shape (3, ...)."""
    pairs = ((q, q), (p, p), (q, p))
    return torch.stack([(x * y).sum(dim) for x, y in pairs]).double()


def _apart(off: Tensor) -> Tensor:
    """Return the products of the offsets of two means, shape (3, C)."""
    return torch.stack([off[0] * off[0], off[1] * off[1], off[0] * off[1]])


def _pearson(
    products: Tensor, least: Tensor | float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the correlations, and the factors of p and q in their gradient.

    Args:
        products (Tensor): Sums of q^2, p^2 and q p, where both are centred, (3, k).
        least (Tensor | float): Sums of squares, (2, k), up to which a side does not
            vary. Defaults to 0.0.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Shape (k,) each; 0 where a side does not vary.
    """
    varies = (products[:2] > least).all(0)
    a, b = products[:2].sqrt()
    norm = a * b + _EPS
    each = torch.where(varies, products[2] / norm, 0.0)
    to_p = torch.where(varies, 1 / norm, 0.0)
    to_q = torch.where(varies, -each * (b / norm) / a, 0.0)
    return each, to_p, to_q
