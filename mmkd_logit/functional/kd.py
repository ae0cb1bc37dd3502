"""The loss of Hinton et al., "Distilling the Knowledge in a Neural Network"."""

from __future__ import annotations

from torch import Tensor

from mmkd_logit.functional._checks import check_positive
from mmkd_logit.functional._closed_form import closed_form_loss


def kd_loss(student: Tensor, teacher: Tensor, tau: float = 4.0) -> Tensor:
    r"""Compute the KL divergence from the teacher's softmax to the student's.

    .. math::
        L = \frac{\tau^2}{N} \sum_n \mathrm{KL}\left(
            \mathrm{softmax}(t_n / \tau) \,\|\, \mathrm{softmax}(s_n / \tau) \right)

    Source: https://arxiv.org/abs/1503.02531

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature, above 0. Defaults to 4.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``tau`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import kd_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{kd_loss(student, teacher, tau=1.0):.4f}')
        0.0928
    """
    check_positive('tau', tau)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = kd_sum(s, t)
        return value, slope.div_(tau)

    return closed_form_loss(student, teacher, chunk, tau, scale=tau**2, smaller=2)


def kd_sum(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the divergences of tempered rows; return it and its gradient for ``s``."""
    log_q, log_p = s.log_softmax(1), t.log_softmax(1)
    p = log_p.exp()
    value = log_p.sub_(log_q).mul_(p).sum()
    return value, log_q.exp_().sub_(p)
