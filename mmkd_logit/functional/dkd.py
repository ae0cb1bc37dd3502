"""The loss of Decoupled Knowledge Distillation (DKD)."""

from __future__ import annotations

from torch import Tensor

from mmkd_logit.functional._checks import (
    check_not_negative,
    check_positive,
    label_column,
)
from mmkd_logit.functional._closed_form import closed_form_loss
from mmkd_logit.functional._softmax import take_apart_
from mmkd_logit.functional.binary_kl import binary_kl


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    tau: float = 4.0,
) -> Tensor:
    r"""Compute the KL divergence, split into the label's part and the other classes'.

    .. math::
        L = \frac{\tau^2}{N} \sum_n
            \alpha \, \mathrm{KL}\big( (p_y, 1 - p_y) \,\|\, (q_y, 1 - q_y) \big) +
            \beta \, \mathrm{KL}(p' \,\|\, q')

    :math:`p` and :math:`q` are the softmax of the teacher's and the student's logits
    over :math:`\tau`, and a prime denotes the softmax over the classes other than
    :math:`y`. With :math:`\alpha = 1` and :math:`\beta = 1 - p_y` it is
    :func:`kd_loss`.

    Source: https://arxiv.org/abs/2203.08679. Classes are masked exactly; the
    released code subtracts 1000 from a logit.

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        target (Tensor): Labels, integers of shape (N,) from 0 to C - 1.
        alpha (float): Factor of the label's term, 0 or more. Defaults to 1.0.
        beta (float): Factor of the other classes' term, 0 or more. Defaults to 8.0.
        tau (float): Temperature, above 0. Defaults to 4.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If logits are not floating point tensors, or labels are not integers.
        ValueError: If shapes do not match, a label is out of range, or a factor or
            ``tau`` is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import dkd_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> target = torch.tensor([0])
        >>> print(f'{dkd_loss(student, teacher, target, tau=1.0):.4f}')
        0.9732
    """
    check_not_negative('alpha', alpha)
    check_not_negative('beta', beta)
    check_positive('tau', tau)
    label = label_column(student, teacher, target)

    def chunk(s: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        odds_q, log_q, q = take_apart_(s, y)
        odds_p, log_p, p = take_apart_(t, y)
        sure, slope = binary_kl(odds_q, odds_p)
        value = sure.mul_(alpha).sum()
        value += log_p.sub_(log_q).mul_(p).sum(1).mul_(beta).sum()
        slope.mul_(alpha)
        grad = q.mul_(beta - slope).sub_(p, alpha=beta)
        return value, grad.scatter_(1, y, slope).div_(tau)

    return closed_form_loss(student, teacher, chunk, tau, tau**2, columns=(label,))
