"""Kendall's tau for rows with mostly settled pairs: windows and discordant pairs.

With a large steepness, tanh is a sign except for classes whose logits are close. So the
sum over all pairs is a count of concordant and discordant pairs, which sorting gives,
plus a correction for the close ones, which are neighbours in a sorted row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Costs of windows, measured on a CPU, in units of a pair in `_all_pairs` (about that of
# one in `_near_pairs`): a pair in `_far_pairs`; per class, finding windows and counting
# discordant pairs; per call, the many small operators.
_FAR_PAIR = 0.6
_PER_CLASS = 100.0
_PER_CALL = 500_000.0
# A GPU waits for the operators of each neighbour in a window. An estimate.
_PER_GAP_ON_GPU = 2_500_000.0


def find_windows(s: Tensor, t: Tensor, k: float) -> Tensor:
    """Return the size of the windows in which tanh is not settled, for each row.

    Args:
        s (Tensor): Logits of shape (N, C), each row in ascending order.
        t (Tensor): Logits of shape (N, C), in the order of s.
        k (float): Steepness.

    Returns:
        Tensor: Number of neighbours in the order of s and in that of t, shape (2, N),
        on the CPU; -1 where it is cheaper to go through all pairs of the row.
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


def windowed_pairs(
    s: Tensor, t: Tensor, k: float, windows: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute sum and gradient for rows in the order of s, from windows.

    For a later class and an earlier one, sign_s is 1, so the pair is concordant if
    sign_t is 1 and discordant if it is -1 (a tie in t takes the sign that sorting gives
    it). The product is the sum of three parts:

        tanh_s tanh_t = sign_t + (tanh_t - sign_t) + (tanh_s - 1) tanh_t

    concordant minus discordant pairs; a correction that is nonzero only for neighbours
    in the order of t; and one for neighbours in the order of s, which carries the whole
    gradient.

    Args:
        s (Tensor): Logits of shape (N, C), each row in ascending order.
        t (Tensor): Logits of shape (N, C), in the order of s.
        k (float): Steepness.
        windows (Tensor): Result of :func:`find_windows`, without any -1.

    Returns:
        tuple[Tensor, Tensor]: The sums, shape (N,) and float64, and their gradient with
        respect to s, over k, shape (N, C) and float64.
    """
    excess, slope = _near_pairs(s, t, k, windows[0])
    return _far_pairs(t, k, windows[1]).sub_(excess, alpha=2), slope


def _near_pairs(
    s: Tensor, t: Tensor, k: float, window: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum (1 - tanh_s) tanh_t over near pairs of s; return half, and the gradient."""
    counts, by = _by_size(window)
    by = by.to(s.device)
    s, t = longer_side_contiguous(s[by]), longer_side_contiguous(t[by])
    slope = torch.zeros_like(s, dtype=torch.float64)
    excess = torch.zeros(len(s), dtype=torch.float64, device=s.device)
    for gap, rows in enumerate(counts, 1):
        q = short_of_1(s[:rows, gap:], s[:rows, :-gap], k)
        p = short_of_1(t[:rows, gap:], t[:rows, :-gap], k)
        w = torch.addcmul(q, q, p, value=-2)
        excess[:rows] += w.sum(1)
        w.addcmul_(q, w, value=-1)
        slope[:rows, gap:] += w
        slope[:rows, :-gap] -= w
    back = by.argsort()
    return excess[back], slope[back].mul_(4)


def _far_pairs(t: Tensor, k: float, window: Tensor) -> Tensor:
    """Sum tanh_t: concordant minus discordant pairs, corrected near ties of t."""
    t, place = t.sort(1)
    counts, by = _by_size(window)
    by = by.to(t.device)
    total = math.comb(t.shape[1], 2) - 2.0 * _count_discordant(place).double()
    t, place = (
        longer_side_contiguous(t[by]),
        longer_side_contiguous(place[by].to(t.dtype)),
    )
    excess = torch.zeros_like(total)
    for gap, rows in enumerate(counts, 1):
        p = short_of_1(t[:rows, gap:], t[:rows, :-gap], k)
        p.copysign_(place[:rows, gap:] - place[:rows, :-gap])
        excess[:rows] += p.sum(1)
    return total.index_add_(0, by, excess, alpha=-2)


def short_of_1(later: Tensor, earlier: Tensor, k: float) -> Tensor:
    """Compute ``(1 - tanh(k (later - earlier))) / 2`` to the last digit."""
    return torch.sub(later, earlier).mul_(-2 * k).sigmoid_()


def _by_size(window: Tensor) -> tuple[list[int], Tensor]:
    """Count rows with windows of 1, 2, ... or more; sort rows by falling window."""
    by = window.argsort(descending=True)
    counts = torch.bincount(window).flip(0).cumsum(0).flip(0)
    return counts[1:].tolist(), by


def longer_side_contiguous(x: Tensor) -> Tensor:
    """Return the matrix with its longer dimension contiguous in memory."""
    return x.t().contiguous().t() if x.shape[0] > x.shape[1] else x


def _count_discordant(order: Tensor) -> Tensor:
    """Count discordant pairs (inversions) in each row, a permutation of 0, 1, ...

    Elements move to the half they belong to, then to the quarter, and so on, otherwise
    keeping their order. Each move counts the elements that it overtakes.
    """
    rows, size = order.shape
    half = 1 << (size - 1).bit_length() >> 1
    at = torch.arange(2 * half, device=order.device)
    # Pad to a power of two with elements that add no inversion.
    order = torch.cat((order, at[size:].expand(rows, -1)), 1)
    count = torch.zeros_like(order[:, 0])
    while half:
        upper = (order & half).bool()
        start = at & -2 * half
        # From the start of the block to here; half of each earlier block is upper.
        uppers = upper.cumsum(1).sub_(start // 2)
        # Only lower elements count; upper ones of a block sum to 1 + 2 + ... + half.
        count += uppers.sum(1) - (half + 1) * uppers.shape[1] // 4
        place = torch.where(upper, uppers + (start + half - 1), at - uppers)
        order = torch.empty_like(order).scatter_(1, place, order)
        half //= 2
    return count
