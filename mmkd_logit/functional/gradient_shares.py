"""Distribution of a loss's gradient over the classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_pair


def gradient_shares(
    loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor
) -> Tensor:
    """Compute the share of the gradient per class, by its rank for the teacher.

    Args:
        loss (Callable): Takes logits of student and teacher, returns a scalar.
        student (Tensor): Logits of shape (N, C).
        teacher (Tensor): Logits of shape (N, C).

    Returns:
        Tensor: Shape (C,), starting with the teacher's top class, in float64. They add
        up to 1; all are 0 if the loss has no gradient.

    Raises:
        TypeError: If logits are not floating point tensors.
        ValueError: If the shapes differ or are not (N, C).

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import gradient_shares, kd_loss
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[2.0, 0.0, -2.0]])
        >>> gradient_shares(kd_loss, student, teacher)[0].round(decimals=2)
        tensor(0.5000, dtype=torch.float64)
    """
    check_pair(student, teacher)
    leaf = student.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf, teacher), leaf)
    ranks = teacher.argsort(1, descending=True)
    sizes = grad.abs().gather(1, ranks).sum(0, dtype=torch.float64)
    return sizes / sizes.sum().clamp(min=torch.finfo(sizes.dtype).tiny)
