"""The three losses of Multi-perspective Contrastive Logit Distillation (MCLD).

Student logits are queries and teacher logits keys, compared by cosine similarity. Keys
are processed in chunks and the softmax over them is accumulated along the way, so the
full similarity matrix is never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mmkd_logit.functional._checks import (
    check_logits,
    check_pair,
    check_positive,
    check_target,
    compute_dtype,
)
from mmkd_logit.functional._closed_form import loss_of_sum, softplus

# Maximum elements in a chunk of keys, and in the similarities with it.
_CHUNK = 2**22

MaskFn = Callable[[slice], Tensor]


def instance_contrast_loss(
    student: Tensor,
    teacher: Tensor,
    queue: Tensor,
    queue_mask: Tensor | None = None,
    tau: float = 0.2,
) -> Tensor:
    r"""Contrast each row's own teacher logits with those of other images in a queue.

    .. math::
        L = \frac1N \sum_n -\log \frac{e^{\hat s_n \cdot \hat t_n / \tau}}
            {e^{\hat s_n \cdot \hat t_n / \tau} +
             \sum_k e^{\hat s_n \cdot \hat q_k / \tau}}

    A hat denotes a row divided by its norm. A student row with a norm below
    :math:`1 / \tau` is divided by :math:`1 / \tau` instead. The gradient of a cosine
    grows as one over the norm, and classifiers often start with small logits; this way
    that of :math:`\hat s \cdot \hat t / \tau` is never above 1, as in cross entropy. An
    empty queue gives 0.

    Source: https://arxiv.org/abs/2411.10693; dividing rows by their norm, as in MoCo,
    is our reading, and the exception for small ones is our addition.

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        queue (Tensor): Teacher logits of shape (K, C).
        queue_mask (Tensor, optional): Booleans of shape (N, K), True where an entry is
            a negative for a row. Defaults to None: all are.
        tau (float): Temperature, above 0. Defaults to 0.2.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If logits are not floating point tensors, or the mask not boolean.
        ValueError: If shapes do not match, or ``tau`` is not a finite number
            above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import instance_contrast_loss
        >>> student = torch.tensor([[8.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> queue = torch.tensor([[0.0, 3.0, 0.0], [0.0, 1.0, 1.0]])
        >>> print(f'{instance_contrast_loss(student, teacher, queue):.4f}')
        0.0155
    """
    check_positive('tau', tau)
    check_pair(student, teacher)
    check_logits('queue', queue)
    if queue.ndim != 2 or queue.shape[1] != student.shape[1]:
        raise ValueError(
            f'queue must have the shape (entries, {student.shape[1]}), with as many '
            f'classes as the student, but got {tuple(queue.shape)}.'
        )
    if queue_mask is None:
        return _one_positive(student, teacher, queue, None, tau)
    if queue_mask.dtype != torch.bool:
        raise TypeError(f'queue_mask must hold booleans, but got {queue_mask.dtype}.')
    if queue_mask.shape != (len(student), len(queue)):
        raise ValueError(
            f'queue_mask must have the shape {(len(student), len(queue))} (rows, '
            f'entries of the queue), but got {tuple(queue_mask.shape)}.'
        )
    return _one_positive(student, teacher, queue, lambda part: queue_mask[:, part], tau)


def sample_contrast_loss(
    student: Tensor, teacher: Tensor, tau: float = 0.2, offset: int = 0
) -> Tensor:
    r"""Contrast each row's own teacher logits with those of the batch's other rows.

    .. math::
        L = \frac1N \sum_n -\log \frac{e^{S_{nn}}}{\sum_m e^{S_{nm}}}, \qquad
        S_{nm} = \hat s_n \cdot \hat t_m / \tau

    A hat denotes a row divided by its norm; small student rows are treated as in
    :func:`instance_contrast_loss`.

    Source: https://arxiv.org/abs/2411.10693

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C), or of shape (M, C) with those of
            other rows too, as of other processes. Gets no gradient.
        tau (float): Temperature, above 0. Defaults to 0.2.
        offset (int): The teacher's row that belongs to the student's first; the others
            follow. Defaults to 0.

    Returns:
        Tensor: A scalar, the mean over the N rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If shapes do not match, or ``tau`` is not a finite number
            above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import sample_contrast_loss
        >>> student = torch.tensor([[8.0, 0.0, 0.0], [0.0, 8.0, 8.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
        >>> print(f'{sample_contrast_loss(student, teacher):.4f}')
        0.0371
    """
    check_positive('tau', tau)
    own = _own_rows(student, teacher, offset)

    def others(part: slice) -> Tensor:
        columns = torch.arange(part.start, part.stop, device=student.device)
        return own[:, None] != columns

    return _one_positive(
        student, teacher[offset : offset + len(student)], teacher, others, tau
    )


def category_contrast_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    tau: float = 0.2,
    offset: int = 0,
) -> Tensor:
    r"""Contrast teacher logits of each row's class with those of other classes.

    .. math::
        L = -\frac1{N'} \sum_n \frac1{|P_n|} \sum_{p \in P_n} \log
            \frac{e^{S_{np}}}{e^{S_{np}} + \sum_{m : y_m \ne y_n} e^{S_{nm}}}, \qquad
        S_{nm} = \hat s_n \cdot \hat t_m / \tau

    :math:`P_n` are the other rows of the same class, and :math:`N'` is the number of
    rows that have any. The rest add nothing; if no row has any, the loss is 0 and keeps
    the graph. A hat denotes a row divided by its norm; small student rows are treated
    as in :func:`instance_contrast_loss`.

    Source: https://arxiv.org/abs/2411.10693

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C), or of shape (M, C) with those of
            other rows too, as of other processes. Gets no gradient.
        target (Tensor): Classes of the teacher's rows, integers of shape (N,) or (M,).
        tau (float): Temperature, above 0. Defaults to 0.2.
        offset (int): The teacher's row that belongs to the student's first; the others
            follow. Defaults to 0.

    Returns:
        Tensor: A scalar, the mean over the rows that have a positive, in float32 or
        wider.

    Raises:
        TypeError: If logits are not floating point tensors, or classes not integers.
        ValueError: If shapes do not match, or ``tau`` is not a finite number
            above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import category_contrast_loss
        >>> student = torch.tensor([[8.0, 0.0, 0.0], [9.0, 3.0, 3.0], [0.0, 8.0, 8.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
        >>> target = torch.tensor([0, 0, 2])
        >>> print(f'{category_contrast_loss(student, teacher, target):.4f}')
        0.0225
    """
    check_positive('tau', tau)
    own = _own_rows(student, teacher, offset)
    check_target(target, len(teacher))
    dtype = compute_dtype(student, teacher)
    classes = target[own][:, None]

    def sum_fn(wants_grad: bool) -> tuple[Tensor, Tensor]:
        query, through_length = _query(student, dtype, 1 / tau)
        negatives, mean = _over_negatives(
            query, teacher, lambda part: classes != target[part], tau
        )
        positives = class_sizes(target)[own][:, None] - 1
        share = 1 / positives.clamp(min=1).to(dtype)
        total = torch.zeros((), dtype=torch.float64, device=student.device)
        slope = torch.zeros_like(query)
        mass = torch.zeros_like(share)
        for part, key in _chunks(teacher, query):
            columns = torch.arange(part.start, part.stop, device=student.device)
            same = (classes == target[part]) & (own[:, None] != columns)
            weight = same * share
            gap = negatives - query @ key.t() / tau
            total += (softplus(gap) * weight).sum(dtype=torch.float64)
            weight *= torch.sigmoid(gap)
            mass += weight.sum(1, keepdim=True)
            slope -= weight @ key
        slope = slope.addcmul_(mass, mean).div_(tau)
        rows = (positives > 0).sum().clamp(min=1)
        return total / rows, through_length(slope).div_(rows)

    return loss_of_sum(student, dtype, sum_fn, 1.0)


def class_sizes(target: Tensor) -> Tensor:
    """Return the size of each row's class, shape (M,), without waiting for a GPU."""
    ordered = torch.sort(target).values
    before = torch.searchsorted(ordered, target)
    return torch.searchsorted(ordered, target, right=True) - before


def _own_rows(student: Tensor, teacher: Tensor, offset: int) -> Tensor:
    """Return the index of the teacher row that belongs to each student row."""
    check_logits('student', student)
    check_logits('teacher', teacher)
    if student.ndim != 2 or teacher.ndim != 2 or student.shape[1] != teacher.shape[1]:
        raise ValueError(
            'student and teacher must be logits (rows, classes) of the same classes, '
            f'but got {tuple(student.shape)} and {tuple(teacher.shape)}.'
        )
    if not 0 <= offset <= len(teacher) - len(student):
        raise ValueError(
            f'The {len(student)} rows of the student do not fit into the '
            f'{len(teacher)} of the teacher, from row {offset} on.'
        )
    return torch.arange(offset, offset + len(student), device=student.device)


def _one_positive(
    student: Tensor, positive: Tensor, keys: Tensor, mask_fn: MaskFn | None, tau: float
) -> Tensor:
    """Compute the cross entropy of the similarity to one key against the others."""
    dtype = compute_dtype(student, positive, keys)

    def sum_fn(wants_grad: bool) -> tuple[Tensor, Tensor]:
        query, through_length = _query(student, dtype, 1 / tau)
        key, _ = direction(positive, dtype)
        negatives, mean = _over_negatives(query, keys, mask_fn, tau)
        gap = negatives - (query * key).sum(1, keepdim=True) / tau
        total = softplus(gap).sum(dtype=torch.float64)
        slope = mean.sub_(key).mul_(torch.sigmoid(gap) / tau)
        return total, through_length(slope)

    return loss_of_sum(student, dtype, sum_fn, 1 / max(1, len(student)))


def direction(logits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the rows divided by their norm, and the norms, shape (N, 1).

    A row of zeros stays one.
    """
    least = torch.finfo(dtype).tiny
    wide = logits.detach().to(dtype)
    # Divide by the largest first: squares would overflow or underflow.
    size = torch.maximum(wide.amax(1, keepdim=True), -wide.amin(1, keepdim=True))
    size.clamp_(min=least)
    unit = wide / size
    norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    return unit.mul_(1 / norm.clamp(min=least)), size * norm


def _query(
    logits: Tensor, dtype: torch.dtype, least: float
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the rows divided by their norm, or by ``least``, and the chain rule.

    The chain rule maps a gradient for these rows to one for the logits, in place.
    """
    unit, length = direction(logits, dtype)
    short = length < least
    query = torch.where(short, logits.detach().to(dtype) / least, unit)

    def chain_rule(slope: Tensor) -> Tensor:
        along = (slope * query).sum(1, keepdim=True).masked_fill_(short, 0)
        inverse = length.clamp(min=least).reciprocal_()
        return slope.addcmul_(query, along, value=-1).mul_(inverse)

    return query, chain_rule


def _chunks(keys: Tensor, query: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the directions of some keys at a time."""
    step = max(1, _CHUNK // max(1, *query.shape))
    for start in range(0, len(keys), step):
        part = slice(start, min(start + step, len(keys)))
        yield part, direction(keys[part], query.dtype)[0]


def _over_negatives(
    query: Tensor, keys: Tensor, mask_fn: MaskFn | None, tau: float
) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exp of similarity / tau over keys, and their softmax mean.

    Args:
        query (Tensor): Directions of shape (N, C).
        keys (Tensor): Logits of shape (K, C).
        mask_fn (Callable, optional): Takes a slice of the keys and returns which count,
            booleans of shape (N, keys in the slice). None: all.
        tau (float): Temperature.

    Returns:
        tuple[Tensor, Tensor]: Shape (N, 1) and (N, C); minus infinity and zeros where
        no key counts.
    """
    top = query.new_full((len(query), 1), -1 / tau)
    total = torch.zeros_like(top)
    mean = torch.zeros_like(query)
    for part, key in _chunks(keys, query):
        weight = (query @ key.t()).div_(tau)
        if mask_fn is not None:
            weight.masked_fill_(~mask_fn(part), -float('inf'))
        new_top = torch.maximum(top, weight.amax(1, keepdim=True))
        weight.sub_(new_top).exp_()
        shrink = top.sub_(new_top).exp_()
        total.mul_(shrink).add_(weight.sum(1, keepdim=True))
        mean.mul_(shrink).addmm_(weight, key)
        top = new_top
    mean.div_(total.clamp(min=torch.finfo(total.dtype).tiny))
    return top.add_(total.log_()), mean
