"""Kendall's tau between the logits of student and teacher: coefficient and loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmkd_logit.functional._closed_form import (
    check_pair,
    check_positive,
    chunk_rows,
    chunk_size,
    closed_form_loss,
    compute_dtype,
)

# What windows cost, as measured on a CPU. The unit is a pair in `_all_pairs`, and about
# one in `_near_pairs`: a pair in `_far_pairs`; for each class, windows to find and
# inversions to count; and for each call the many small operators.
_FAR_PAIR = 0.6
_PER_CLASS = 100.0
_PER_CALL = 500_000.0
# A GPU waits for the operators of each neighbour of a window. Reckoned, not measured.
_PER_GAP_ON_GPU = 2_500_000.0


def kendall_tau_loss(student: Tensor, teacher: Tensor, k: float = 100.0) -> Tensor:
    r"""One minus Kendall's tau in its differentiable form: how the ranks disagree.

    .. math::
        L = \frac1N \sum_n \left( 1 - \frac{2}{C (C - 1)} \sum_{i < j}
            \tanh(k (s_{ni} - s_{nj})) \tanh(k (t_{ni} - t_{nj})) \right)

    From 0, the same order and no ties, to 2, the reverse order. Two classes of the
    same logit count as half in order. The gradient is

    .. math::
        \frac{\partial L}{\partial s_{ni}} = -\frac{2 k}{N C (C - 1)} \sum_{j \ne i}
            \tanh(k (t_{ni} - t_{nj})) (1 - \tanh^2(k (s_{ni} - s_{nj})))

    It takes memory of the order of N C. With large ``k`` its time grows with the pairs
    of classes that ``k`` does not tell apart, not with all C (C - 1) / 2; the result
    is the same.

    Source: https://arxiv.org/abs/2409.17823

    Args:
        student (Tensor): Logits of shape (N, C), a row a prediction, with C of 2 or
            more.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        k (float): Steepness, above 0, in 1 / logits. Logits further apart than a few
            1 / k have a settled order and no gradient. Defaults to 100.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C) with C of 2 or more, if
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
    _check_rankable(student, teacher)
    pairs = math.comb(student.shape[1], 2)
    # A tie times an infinite k would be no number.
    k = min(k, torch.finfo(compute_dtype(student, teacher)).max / 4)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        agreement, slope = _soft_agreement(s, t, k)
        return (pairs - agreement).sum(), slope.mul_(-k)

    return closed_form_loss(student, teacher, chunk, scale=1 / pairs)


@torch.no_grad()
def kendall_tau(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Kendall's tau-a of each row: 1 for the same order, -1 for the reverse.

    .. math::
        \tau_n = \frac{2}{C (C - 1)} \sum_{i < j}
            \mathrm{sgn}(s_{ni} - s_{nj}) \, \mathrm{sgn}(t_{ni} - t_{nj})

    A pair of classes with the same logit, of the student or of the teacher, counts 0
    and stays in the denominator. So a row with ties does not reach 1, unlike the tau-b
    of ``scipy.stats.kendalltau``; without ties the two are the same.

    Source: https://arxiv.org/abs/2409.17823

    Args:
        student (Tensor): Logits of shape (N, C), a row a prediction, with C of 2 or
            more.
        teacher (Tensor): Logits of shape (N, C).

    Returns:
        Tensor: Shape (N,), from -1 to 1, in float32 or wider, without gradient.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C) with C of 2 or more, or if
            logits are not finite.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import kendall_tau
        >>> student = torch.tensor([[2.0, 0.0, 1.0], [3.0, 2.0, 1.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0], [0.3, 0.2, 0.2]])
        >>> kendall_tau(student, teacher)
        tensor([0.3333, 0.6667])
    """
    _check_rankable(student, teacher)
    dtype = compute_dtype(student, teacher)
    taus = torch.empty(len(student), dtype=torch.float64, device=student.device)
    for part in chunk_rows(student):
        s, t = (_dense_ranks(x[part]).to(dtype) for x in (student, teacher))
        # Ranks differ by 0 or by 1 at least, where tanh is 1 with this steepness.
        taus[part], _ = _soft_agreement(s, t, k=20.0)
    return taus.div_(math.comb(student.shape[1], 2)).to(dtype)


def _check_rankable(student: Tensor, teacher: Tensor) -> None:
    check_pair(student, teacher)
    if student.shape[1] < 2:
        raise ValueError(
            'A rank needs at least 2 classes, but the logits have the shape '
            f'{tuple(student.shape)} (rows, classes).'
        )
    both = (student.detach(), teacher.detach())
    finite = torch.stack([x.isfinite().all().to(student.device) for x in both])
    for name, fine in zip(('student', 'teacher'), finite.tolist()):
        if not fine:
            raise ValueError(
                f'The logits of the {name} are not finite, so they have no order. '
                'Look for an overflow in half precision, a learning rate that is too '
                "high, or, for the teacher, at its checkpoint and its inputs' "
                'normalization.'
            )


def _dense_ranks(logits: Tensor) -> Tensor:
    """Ranks of each row from 0; equal logits have the same, and none is left out."""
    ordered, order = logits.sort(1)
    rank = torch.zeros_like(order)
    rank[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    return torch.empty_like(rank).scatter_(1, order, rank)


def _soft_agreement(s: Tensor, t: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """Sum over pairs of tanh(k (s_i - s_j)) tanh(k (t_i - t_j)) for each row.

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
    windows = _windows(s, t, k)
    windowed = windows[0] >= 0
    if windowed.all():
        agreement, slope = _windowed_pairs(s, t, k, windows)
    elif not windowed.any():
        agreement, slope = _all_pairs(s, t, k)
    else:
        agreement = torch.empty(len(s), dtype=torch.float64, device=s.device)
        slope = torch.empty_like(s, dtype=torch.float64)
        here, there = (rows.nonzero().squeeze(1) for rows in (windowed, ~windowed))
        near = windows[:, here]
        here, there = here.to(s.device), there.to(s.device)
        agreement[here], slope[here] = _windowed_pairs(s[here], t[here], k, near)
        agreement[there], slope[there] = _all_pairs(s[there], t[there], k)
    return agreement, torch.empty_like(s).scatter_(1, order, slope.to(s.dtype))


def _windows(s: Tensor, t: Tensor, k: float) -> Tensor:
    """How far the neighbours within reach of a tanh go in the order of s, and of t.

    Beyond its reach a tanh is 1. Shape (2, N), on the CPU; -1 where all pairs of the
    row are cheaper.
    """
    rows, classes = s.shape
    pairs = math.comb(classes, 2)
    fixed = _PER_CLASS * classes + _PER_CALL / rows
    if fixed >= pairs:
        return torch.full((2, rows), -1)
    reach = math.log(8 / torch.finfo(s.dtype).eps) / (2 * k)
    sizes = []
    for x in (s, t.sort(1).values):
        end = torch.searchsorted(x, x + reach, right=True)
        end -= torch.arange(1, classes + 1, device=x.device)
        sizes.append(end.amax(1))
    windows = torch.stack(sizes).cpu()
    in_s, in_t = windows * (2 * classes - 1 - windows) / 2
    cost = in_s + _FAR_PAIR * in_t + fixed
    if s.is_cuda:
        cost += _PER_GAP_ON_GPU / rows * windows.sum(0)
    return torch.where(cost < pairs, windows, -1)


def _all_pairs(s: Tensor, t: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """Sum and gradient for rows in the order of s, from blocks of C x C.

    In the order of s each pair is a later class and an earlier one, and with q and p,
    what tanh_s and tanh_t are short of 1, halved,

        1 - tanh_s tanh_t = 2 (p + w),   tanh_t (1 - tanh_s^2) = 4 (w - q w),

    where w = q (1 - 2 p). No digit of a small q, or of its product, is lost.
    """
    rows, classes = s.shape
    s, t = _rows_in_line(s), _rows_in_line(t)
    # Added to once a block, or a gap: float32 would lose digits.
    slope = torch.zeros_like(s, dtype=torch.float64)
    excess = torch.zeros(rows, dtype=torch.float64, device=s.device)
    step = max(1, chunk_size(s) // max(1, s.numel()))
    for start in range(1, classes, step):
        now, before = slice(start, start + step), slice(0, start + step - 1)
        q = _short_of_1(s[:, now, None], s[:, None, before], k)
        p = _short_of_1(t[:, now, None], t[:, None, before], k)
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


def _windowed_pairs(
    s: Tensor, t: Tensor, k: float, windows: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum and gradient for rows in the order of s, from windows of neighbours.

    Of a later class and an earlier one, tanh_s is 1 and tanh_t the sign of its
    difference beyond the reach of tanh (a tie has the sign that the sort gives it):

        tanh_s tanh_t = sign_t + (tanh_t - sign_t) + (tanh_s - 1) tanh_t

    is a count of inversions, and what is not 0 only for neighbours in the order of t,
    and only for neighbours in the order of s. The last has all of the gradient.
    """
    excess, slope = _near_pairs(s, t, k, windows[0])
    return _far_pairs(t, k, windows[1]).sub_(excess, alpha=2), slope


def _near_pairs(
    s: Tensor, t: Tensor, k: float, window: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of (1 - tanh_s) tanh_t, halved, and gradient, as `_all_pairs`; windows."""
    counts, by = _by_size(window)
    by = by.to(s.device)
    s, t = _rows_in_line(s[by]), _rows_in_line(t[by])
    slope = torch.zeros_like(s, dtype=torch.float64)
    excess = torch.zeros(len(s), dtype=torch.float64, device=s.device)
    for gap, rows in enumerate(counts, 1):
        q = _short_of_1(s[:rows, gap:], s[:rows, :-gap], k)
        p = _short_of_1(t[:rows, gap:], t[:rows, :-gap], k)
        w = torch.addcmul(q, q, p, value=-2)
        excess[:rows] += w.sum(1)
        w.addcmul_(q, w, value=-1)
        slope[:rows, gap:] += w
        slope[:rows, :-gap] -= w
    back = by.argsort()
    return excess[back], slope[back].mul_(4)


def _far_pairs(t: Tensor, k: float, window: Tensor) -> Tensor:
    """Sum of tanh_t over all pairs, by inversions and windows in the order of t."""
    t, place = t.sort(1)
    counts, by = _by_size(window)
    by = by.to(t.device)
    total = math.comb(t.shape[1], 2) - 2.0 * _inversions(place).double()
    t, place = _rows_in_line(t[by]), _rows_in_line(place[by].to(t.dtype))
    excess = torch.zeros_like(total)
    for gap, rows in enumerate(counts, 1):
        p = _short_of_1(t[:rows, gap:], t[:rows, :-gap], k)
        p.copysign_(place[:rows, gap:] - place[:rows, :-gap])
        excess[:rows] += p.sum(1)
    return total.index_add_(0, by, excess, alpha=-2)


def _short_of_1(later: Tensor, earlier: Tensor, k: float) -> Tensor:
    """What tanh(k (later - earlier)) is short of 1, halved."""
    return torch.sub(later, earlier).mul_(-2 * k).sigmoid_()


def _by_size(window: Tensor) -> tuple[list[int], Tensor]:
    """The rows, largest window first, and how many have a neighbour 1, 2, ... away."""
    by = window.argsort(descending=True)
    counts = torch.bincount(window).flip(0).cumsum(0).flip(0)
    return counts[1:].tolist(), by


def _rows_in_line(x: Tensor) -> Tensor:
    """The same, with the longer dimension contiguous in memory."""
    return x.t().contiguous().t() if x.shape[0] > x.shape[1] else x


def _inversions(order: Tensor) -> Tensor:
    """Pairs that each row of permutations of 0, 1, ... has in reverse, shape (N,).

    Elements move to the half that they belong to, then to the quarter, and so on, and
    keep their order otherwise. Each move counts the elements that it overtakes.
    """
    rows, size = order.shape
    half = 1 << (size - 1).bit_length() >> 1
    at = torch.arange(2 * half, device=order.device)
    # Up to a power of two, with what reverses nothing.
    order = torch.cat((order, at[size:].expand(rows, -1)), 1)
    count = torch.zeros_like(order[:, 0])
    while half:
        upper = (order & half).bool()
        start = at & -2 * half
        # From the start of the block up to here; half of each block before it is upper.
        uppers = upper.cumsum(1).sub_(start // 2)
        # Lower elements are overtaken; the upper ones of a block sum 1, 2, ..., half.
        count += uppers.sum(1) - (half + 1) * uppers.shape[1] // 4
        place = torch.where(upper, uppers + (start + half - 1), at - uppers)
        order = torch.empty_like(order).scatter_(1, place, order)
        half //= 2
    return count
