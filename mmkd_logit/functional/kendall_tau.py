"""Kendall's tau between the logits of student and teacher: coefficient and loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmkd_logit.functional._checks import (
    check_pair,
    check_positive,
    compute_dtype,
)
from mmkd_logit.functional._closed_form import (
    chunk_rows,
    chunk_size,
    closed_form_loss,
)
from mmkd_logit.functional._kendall_windows import (
    find_windows,
    longer_side_contiguous,
    short_of_1,
    windowed_pairs,
)


def kendall_tau_loss(student: Tensor, teacher: Tensor, k: float = 100.0) -> Tensor:
    r"""Compute one minus a differentiable form of Kendall's tau.

    .. math::
        L = \frac1N \sum_n \left( 1 - \frac{2}{C (C - 1)} \sum_{i < j}
            \tanh(k (s_{ni} - s_{nj})) \tanh(k (t_{ni} - t_{nj})) \right)

    It ranges from 0, the same order without ties, to 2, the reverse order. Two classes
    with the same logit count as half in order. The gradient is

    .. math::
        \frac{\partial L}{\partial s_{ni}} = -\frac{2 k}{N C (C - 1)} \sum_{j \ne i}
            \tanh(k (t_{ni} - t_{nj})) (1 - \tanh^2(k (s_{ni} - s_{nj})))

    It takes O(N C) memory. With large ``k``, its time grows with the number of class
    pairs that ``k`` does not tell apart, not with all C (C - 1) / 2; the result is the
    same.

    Source: https://arxiv.org/abs/2409.17823

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row, with C >= 2.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        k (float): Steepness, above 0, in 1 / logit. Logits further apart than a few
            1 / k have a settled order and no gradient. Defaults to 100.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider. NaN, with a NaN
        gradient, if a student logit is not finite: a gradient scaler then skips the
        step.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C) with C >= 2, the teacher's
            logits are not finite, or ``k`` is not a finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import kendall_tau_loss
        >>> student = torch.tensor([[2.0, 0.0, 1.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{kendall_tau_loss(student, teacher):.4f}')
        0.6667
    """
    check_positive('k', k)
    student_is_finite = _check_rankable(student, teacher)
    pairs = math.comb(student.shape[1], 2)
    # A tie times an infinite k would be NaN.
    k = min(k, torch.finfo(compute_dtype(student, teacher)).max / 4)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        if not student_is_finite:  # such rows have no order
            return s.new_tensor(math.nan), s.fill_(math.nan)
        agreement, slope = _soft_agreement(s, t, k)
        return (pairs - agreement).sum(), slope.mul_(-k)

    return closed_form_loss(student, teacher, chunk, scale=1 / pairs)


@torch.no_grad()
def kendall_tau(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Compute Kendall's tau-a of each row: 1 for the same order, -1 for the reverse.

    .. math::
        \tau_n = \frac{2}{C (C - 1)} \sum_{i < j}
            \mathrm{sgn}(s_{ni} - s_{nj}) \, \mathrm{sgn}(t_{ni} - t_{nj})

    A pair of classes tied in the student or the teacher counts as 0 and stays in the
    denominator. So a row with ties does not reach 1, unlike with the tau-b of
    ``scipy.stats.kendalltau``; without ties the two are the same.

    Source: https://arxiv.org/abs/2409.17823

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row, with C >= 2.
        teacher (Tensor): Logits of shape (N, C).

    Returns:
        Tensor: Shape (N,), from -1 to 1, in float32 or wider, without gradient.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C) with C >= 2, or logits are
            not finite.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import kendall_tau
        >>> student = torch.tensor([[2.0, 0.0, 1.0], [3.0, 2.0, 1.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0], [0.3, 0.2, 0.2]])
        >>> kendall_tau(student, teacher)
        tensor([0.3333, 0.6667])
    """
    if not _check_rankable(student, teacher):
        raise _no_order('student')
    dtype = compute_dtype(student, teacher)
    taus = torch.empty(len(student), dtype=torch.float64, device=student.device)
    for part in chunk_rows(student):
        s, t = (_dense_ranks(x[part]).to(dtype) for x in (student, teacher))
        # Ranks differ by 0 or by at least 1, where tanh is 1 at this steepness.
        taus[part], _ = _soft_agreement(s, t, k=20.0)
    return taus.div_(math.comb(student.shape[1], 2)).to(dtype)


def _check_rankable(student: Tensor, teacher: Tensor) -> bool:
    """Check that rows can be ranked; return whether the student's logits are finite."""
    check_pair(student, teacher)
    if student.shape[1] < 2:
        raise ValueError(
            'Ranking needs at least 2 classes, but the logits have the shape '
            f'{tuple(student.shape)} (rows, classes).'
        )
    both = (student.detach(), teacher.detach())
    finite = torch.stack([x.isfinite().all().to(student.device) for x in both])
    of_student, of_teacher = finite.tolist()  # waits for a GPU once
    if not of_teacher:
        raise _no_order('teacher')
    return of_student


def _no_order(name: str) -> ValueError:
    return ValueError(
        f'The logits of the {name} are not finite, so they cannot be ranked. Check for '
        'an overflow in half precision or too high a learning rate, or, for the '
        "teacher, its checkpoint and its inputs' normalization."
    )


def _dense_ranks(logits: Tensor) -> Tensor:
    """Return the ranks in each row from 0, without gaps; equal logits share one."""
    ordered, order = logits.sort(1)
    rank = torch.zeros_like(order)
    rank[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    return torch.empty_like(rank).scatter_(1, order, rank)


def _soft_agreement(s: Tensor, t: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """Sum tanh(k (s_i - s_j)) tanh(k (t_i - t_j)) over the pairs of each row.

    Args:
        s (Tensor): Logits of shape (N, C), float32 or wider.
        t (Tensor): Logits of shape (N, C), of the same type.
        k (float): Steepness.

    Returns:
        tuple[Tensor, Tensor]: The sums, shape (N,) and float64, and their gradient
        with respect to s, over k, shape (N, C).
    """
    s, order = s.contiguous().sort(1)
    t = t.gather(1, order)
    windows = find_windows(s, t, k)
    windowed = windows[0] >= 0
    if windowed.all():
        agreement, slope = windowed_pairs(s, t, k, windows)
    elif not windowed.any():
        agreement, slope = _all_pairs(s, t, k)
    else:
        agreement = torch.empty(len(s), dtype=torch.float64, device=s.device)
        slope = torch.empty_like(s, dtype=torch.float64)
        here, there = (rows.nonzero().squeeze(1) for rows in (windowed, ~windowed))
        near = windows[:, here]
        here, there = here.to(s.device), there.to(s.device)
        agreement[here], slope[here] = windowed_pairs(s[here], t[here], k, near)
        agreement[there], slope[there] = _all_pairs(s[there], t[there], k)
    return agreement, torch.empty_like(s).scatter_(1, order, slope.to(s.dtype))


def _all_pairs(s: Tensor, t: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """Compute sum and gradient for rows in the order of s, from blocks of C x C.

    In the order of s, each pair is a later class and an earlier one. With
    q = (1 - tanh_s) / 2 and p = (1 - tanh_t) / 2,

        1 - tanh_s tanh_t = 2 (p + w),   tanh_t (1 - tanh_s^2) = 4 (w - q w),

    where w = q (1 - 2 p). No digits of a small q, or of its products, are lost.
    """
    rows, classes = s.shape
    s, t = longer_side_contiguous(s), longer_side_contiguous(t)
    # Accumulated over many blocks: float32 would lose digits.
    slope = torch.zeros_like(s, dtype=torch.float64)
    excess = torch.zeros(rows, dtype=torch.float64, device=s.device)
    step = max(1, chunk_size(s) // max(1, s.numel()))
    for start in range(1, classes, step):
        now, before = slice(start, start + step), slice(0, start + step - 1)
        q = short_of_1(s[:, now, None], s[:, None, before], k)
        p = short_of_1(t[:, now, None], t[:, None, before], k)
        if step > 1:
            corner = q[:, :, start:]
            shape = corner.shape[1:]
            after = torch.ones(shape, dtype=torch.bool, device=s.device).triu_()
            corner.masked_fill_(after, 0)
            p[:, :, start:].masked_fill_(after, 0)
        w = torch.addcmul(q, q, p, value=-2)
        excess += p.add_(w).sum((1, 2))
        w.addcmul_(q, w, value=-1)
        slope[:, now] += w.sum(2)
        slope[:, before] -= w.sum(1) if step > 1 else w.squeeze(1)
    return math.comb(classes, 2) - 2 * excess, slope.mul_(4)
