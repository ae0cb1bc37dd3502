"""Angle and alignment of the gradients of two losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmkd_logit.functional._checks import compute_dtype

Gradients = Sequence[Tensor | None]


def align_gradients(
    task: Gradients, distill: Gradients, scope: str = 'all'
) -> list[Tensor | None]:
    r"""Add two gradients, minus the component of the second that opposes the first.

    .. math::
        g = g_1 + g_2 - \frac{\min(0, \langle g_1, g_2 \rangle)}{\|g_1\|^2} g_1

    All parameters together form one vector, in which an absent gradient is 0. So a
    parameter that distillation does not reach still contributes to
    :math:`\|g_1\|^2`, unless ``scope`` is 'shared'.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        task (Sequence[Tensor | None]): Gradient of the task loss, :math:`g_1`, one
            tensor for each parameter, in any shape; None where it is absent.
        distill (Sequence[Tensor | None]): Gradient of the distillation loss,
            :math:`g_2`, for the same parameters.
        scope (str): 'all': every parameter takes part, as in the authors' code; or
            'shared': only those that both losses reach, while the others get the sum
            of their gradients. Defaults to 'all'.

    Returns:
        list[Tensor | None]: The merged gradient :math:`g`, in the same shapes. None
        where both are absent; where one is, it may be the input tensor itself. The
        input lists are not changed.

    Raises:
        ValueError: If the lists do not match, or ``scope`` is unknown.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import align_gradients
        >>> task, distill = torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 3.0])
        >>> align_gradients([task], [distill])
        [tensor([1., 3.])]
    """
    check_scope(scope)
    pairs = _pairs(task, distill)
    if not pairs:
        return [b if a is None else a for a, b in zip(task, distill)]
    if scope == 'shared':
        shared = [None if b is None else a for a, b in zip(task, distill)]
        merged = align_gradients(shared, distill)
        return [a if grad is None else grad for a, grad in zip(task, merged)]
    norm = _norm(task)
    norm = torch.where(norm == 0, 1.0, norm)
    against = _sum(_unit(a, norm) * b for a, b in pairs).clamp(max=0)
    return [_merge(a, b, norm, against) for a, b in zip(task, distill)]


def check_scope(scope: str) -> None:
    """Raise ``ValueError`` for an unknown scope."""
    if scope not in ('all', 'shared'):
        raise ValueError(f"scope must be 'all' or 'shared', but got {scope!r}.")


def gradient_cosine(task: Gradients, distill: Gradients) -> Tensor:
    """Compute the cosine of two gradients; below 0, they are in conflict.

    Args:
        task (Sequence[Tensor | None]): Gradient of one loss, one tensor for each
            parameter, in any shape; None where it is absent.
        distill (Sequence[Tensor | None]): Gradient of the other, for the same
            parameters.

    Returns:
        Tensor: A scalar in float64, from -1 to 1; NaN if one gradient is 0 or absent
        everywhere.

    Raises:
        ValueError: If the lists do not match.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import gradient_cosine
        >>> task, distill = torch.tensor([1.0, 0.0]), torch.tensor([-3.0, 4.0])
        >>> print(f'{gradient_cosine([task], [distill]):.2f}')
        -0.60
    """
    pairs = _pairs(task, distill)
    if not pairs:
        return torch.tensor(float('nan'), dtype=torch.float64)
    norms = _norm(task), _norm(distill)
    return _sum(_unit(a, norms[0]) * _unit(b, norms[1]) for a, b in pairs)


def _pairs(task: Gradients, distill: Gradients) -> list[tuple[Tensor, Tensor]]:
    """Return the gradients of the parameters that both losses reach."""
    if len(task) != len(distill):
        raise ValueError(
            'task and distill must be gradients of the same parameters, but got '
            f'{len(task)} and {len(distill)} of them.'
        )
    pairs = [(a, b) for a, b in zip(task, distill) if a is not None and b is not None]
    for a, b in pairs:
        if a.shape != b.shape:
            raise ValueError(
                'task and distill must be gradients of the same parameters, but got '
                f'the shapes {tuple(a.shape)} and {tuple(b.shape)} for one.'
            )
    return pairs


def _sum(products: Iterable[Tensor]) -> Tensor:
    return torch.stack([each.sum(dtype=torch.float64) for each in products]).sum()


def _norm(grads: Gradients) -> Tensor:
    """Return the norm of the whole vector; in float64 no square over- or underflows."""
    norms = [
        torch.linalg.vector_norm(grad, dtype=torch.float64)
        for grad in grads
        if grad is not None
    ]
    return torch.linalg.vector_norm(torch.stack(norms))


def _unit(grad: Tensor, norm: Tensor) -> Tensor:
    """Return part of the vector scaled to norm 1, so that products stay small."""
    dtype = compute_dtype(grad)
    return grad.to(dtype) / norm.to(dtype)


def _merge(
    task: Tensor | None, distill: Tensor | None, norm: Tensor, against: Tensor
) -> Tensor | None:
    if task is None:
        return distill
    unit = _unit(task, norm)
    merged = task - unit.mul_(against.to(unit.dtype))
    if distill is not None:
        merged += distill
    return merged.to(task.dtype)
