"""The terms of Multi-Level Logit Distillation (MLKD), for one view of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_positive
from mmkd_logit.functional._closed_form import closed_form_loss, loss_of_sum
from mmkd_logit.functional._soft_rows import SoftRows, SumOverRanks, alone
from mmkd_logit.functional.kd import kd_sum


def multi_temperature_kd_loss(
    student: Tensor, teacher: Tensor, taus: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0)
) -> Tensor:
    r"""Sum :func:`kd_loss` over several temperatures, with one gradient in memory.

    .. math::
        L = \sum_\tau \frac{\tau^2}{N} \sum_n \mathrm{KL}\left(
            \mathrm{softmax}(t_n / \tau) \,\|\, \mathrm{softmax}(s_n / \tau) \right)

    Source: CVPR 2023, Jin et al., "Multi-Level Logit Distillation"

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        taus (Sequence[float]): Temperatures, above 0. Defaults to
            (2.0, 3.0, 4.0, 5.0, 6.0).

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), there is no temperature,
            or one of them is not a finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import multi_temperature_kd_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{multi_temperature_kd_loss(student, teacher, (1.0,)):.4f}')
        0.0928
    """
    if len(taus) == 0:
        raise ValueError('taus must hold at least one temperature, but is empty.')
    for tau in taus:
        check_positive('taus', tau)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = s.new_zeros(()), torch.zeros_like(s)
        for tau in taus:
            one, each = kd_sum(s / tau, t / tau)
            value += tau**2 * one
            slope.add_(each, alpha=tau)
        return value, slope

    return closed_form_loss(student, teacher, chunk, tau=1.0)


def class_correlation_loss(
    student: Tensor, teacher: Tensor, tau: float = 4.0
) -> Tensor:
    r"""Compute how far the class correlations of student and teacher differ.

    .. math::
        L = \frac1C \left\| Q^\top Q - P^\top P \right\|_F^2, \qquad
        Q = \mathrm{softmax}(s / \tau), \quad P = \mathrm{softmax}(t / \tau)

    The probabilities are not centred, and their products not divided by the number of
    rows: the loss grows with the square of that number.

    Source: CVPR 2023, Jin et al., "Multi-Level Logit Distillation"

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature, above 0. Defaults to 4.0.

    Returns:
        Tensor: A scalar in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``tau`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import class_correlation_loss
        >>> student = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> teacher = torch.tensor([[8.0, 0.0], [0.0, 0.0]])
        >>> print(f'{class_correlation_loss(student, teacher):.4f}')
        0.1005
    """
    return correlations_over_ranks(student, teacher, [tau], ('class',), alone, 1)


def batch_correlation_loss(
    student: Tensor, teacher: Tensor, tau: float = 4.0
) -> Tensor:
    r"""Compute how far the row correlations of student and teacher differ.

    .. math::
        L = \frac1N \left\| Q Q^\top - P P^\top \right\|_F^2, \qquad
        Q = \mathrm{softmax}(s / \tau), \quad P = \mathrm{softmax}(t / \tau)

    With more rows than classes, such as pixels, no N x N matrix is built: with
    :math:`E = Q - P` and :math:`M = Q + P`, the sum of its squares is

    .. math::
        \frac12 \left( \langle M^\top M, E^\top E \rangle
            + \langle E^\top M, M^\top E \rangle \right)

    which vanishes with :math:`E`, so that close probabilities lose no digits.

    Source: CVPR 2023, Jin et al., "Multi-Level Logit Distillation"

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature, above 0. Defaults to 4.0.

    Returns:
        Tensor: A scalar in float32 or wider; 0 if there are no rows.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``tau`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import batch_correlation_loss
        >>> student = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> teacher = torch.tensor([[8.0, 0.0], [0.0, 0.0]])
        >>> print(f'{batch_correlation_loss(student, teacher):.4f}')
        0.0338
    """
    return correlations_over_ranks(student, teacher, [tau], ('batch',), alone, 1)


def correlations_over_ranks(
    student: Tensor,
    teacher: Tensor,
    taus: Sequence[float],
    terms: Sequence[str],
    sum_over_ranks: SumOverRanks,
    ranks: int,
) -> Tensor:
    """Sum correlation losses at several temperatures over the rows of all processes.

    Args:
        student (Tensor): Logits of shape (N, C), the rows of this process.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        taus (Sequence[float]): Temperatures, above 0.
        terms (Sequence[str]): 'class' for :func:`class_correlation_loss`, 'batch' for
            :func:`batch_correlation_loss`, or both.
        sum_over_ranks (Callable): Sums a tensor over all processes.
        ranks (int): Number of processes.

    Returns:
        Tensor: A scalar. Averaged over processes, it and its gradient equal those of
        one process with all rows.
    """
    softs = [SoftRows(student, teacher, tau) for tau in taus]
    dtype = softs[0].dtype

    def sum_fn(wants_grad: bool) -> tuple[Tensor, Tensor | None]:
        total = student.new_zeros((), dtype=torch.float64)
        # Allocated on first use, when probabilities are freed.
        made = cache(lambda: torch.zeros_like(student, dtype=dtype))
        grad = made if wants_grad else None
        for soft in softs:
            if 'class' in terms:
                total += _class_term(soft, grad, sum_over_ranks, ranks)
            if 'batch' in terms and ranks == 1 and len(student) <= student.shape[1]:
                total += _small_batch_term(soft, grad)
            elif 'batch' in terms:
                total += _batch_term(soft, grad, sum_over_ranks, ranks)
            soft.forget()
        return total, grad and grad()

    return loss_of_sum(student, dtype, sum_fn, 1.0)


def _class_term(
    soft: SoftRows,
    grad: Callable[[], Tensor] | None,
    sum_over_ranks: SumOverRanks,
    ranks: int,
) -> Tensor:
    """Return the value, and add the gradient to ``grad()``."""
    classes = soft.student.shape[1]
    apart = soft.one.new_zeros(classes, classes)
    for _, q, p in soft:
        apart.addmm_((q - p).t(), q + p)
    apart = _symmetric(sum_over_ranks(apart))
    total = _sum_of_squares(apart) / classes
    if grad is not None:
        apart.mul_(4 * ranks / classes)
        for part, q, _ in soft:
            grad()[part] += soft.back(q, q @ apart)
    return total * soft.one


def _small_batch_term(soft: SoftRows, grad: Callable[[], Tensor] | None) -> Tensor:
    """Return the term from N x N products, for no more rows than classes."""
    rows = max(1, len(soft.student))
    parts = [(q, p) for _, q, p in soft]
    if not parts:
        return soft.one.new_zeros(())
    q, p = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts))
    gap = q - p
    del p, parts
    soft.forget()
    # Q + P is 2 Q minus the gap.
    apart = (q @ gap.t()).mul_(2).addmm_(gap, gap.t(), alpha=-1)
    del gap
    apart = _symmetric(apart)
    total = _sum_of_squares(apart) / rows
    if grad is not None:
        slope = soft.back(q, apart.mul_(4 / rows) @ q)
        grad().add_(slope)
    return total * soft.one


def _batch_term(
    soft: SoftRows,
    grad: Callable[[], Tensor] | None,
    sum_over_ranks: SumOverRanks,
    ranks: int,
) -> Tensor:
    """Return the term from C x C products, for more rows or several processes."""
    classes = soft.student.shape[1]
    # In float64, because the two products of the value can cancel.
    products = soft.one.new_zeros(3, classes, classes, dtype=torch.float64)
    for _, q, p in soft:
        apart, both = q - p, q + p
        products[0] += both.t() @ both
        products[1] += apart.t() @ apart
        products[2] += apart.t() @ both
    rows = sum_over_ranks(products.new_full((1,), len(soft.student))).clamp(min=1)
    mm, ee, em = sum_over_ranks(products)
    total = ((mm * ee).sum() + (em * em.t()).sum()).clamp(min=0) / (2 * rows[0])
    if grad is not None:
        to_both, to_apart = (
            (each * (ranks / rows)).to(soft.dtype) for each in (em + ee, mm + em.t())
        )
        for part, q, p in soft:
            slope = ((q + p) @ to_both).addmm_(q - p, to_apart)
            grad()[part] += soft.back(q, slope)
    return total * soft.one


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.t()).mul_(0.5)


def _sum_of_squares(matrix: Tensor) -> Tensor:
    """Return the sum of squares in float64, without copying the matrix."""
    return torch.linalg.vector_norm(matrix).double().square()
