"""The distillation term of Normalized Knowledge Distillation (NKD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import (
    check_not_negative,
    check_positive,
    label_column,
)
from mmkd_logit.functional._closed_form import closed_form_loss, scaled, softplus
from mmkd_logit.functional._softmax import masked_softmax_, take_apart_


def nkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    gamma: float = 1.5,
    tau: float = 1.0,
) -> Tensor:
    r"""Compute soft cross entropy at the label and over the renormalized others.

    .. math::
        L = -\frac1N \sum_n \Big( p_y \log q_y +
            \gamma \tau^2 \sum_{c \ne y} p'_c \log q'_c \Big)

    :math:`p` and :math:`q` are the softmax of the teacher's and the student's logits,
    without temperature, and a prime denotes the softmax of the logits over :math:`\tau`
    on the classes other than :math:`y`. Both terms are cross entropies, so the loss is
    above 0 even where both agree.

    Source: https://arxiv.org/abs/2303.13005, without the student's own cross entropy
    with the label.

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        target (Tensor): Labels, integers of shape (N,) from 0 to C - 1.
        gamma (float): Factor of the other classes' term, 0 or more. Defaults to 1.5.
        tau (float): Temperature of that term, above 0. Defaults to 1.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If logits are not floating point tensors, or labels are not integers.
        ValueError: If shapes do not match, a label is out of range, or ``gamma`` or
            ``tau`` is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import nkd_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{nkd_loss(student, teacher, torch.tensor([0])):.4f}')
        1.2640
    """
    check_not_negative('gamma', gamma)
    check_positive('tau', tau)
    label = label_column(student, teacher, target)

    def chunk(s: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        odds_q, log_q, q = take_apart_(s, y)
        odds_p, log_p, p = take_apart_(t, y)
        p_label = odds_p.sigmoid_()
        pull = torch.sigmoid(-odds_q).mul_(p_label)
        value = softplus(odds_q.neg_()).mul_(p_label).sum()
        if tau == 1:
            grad = q.mul_(gamma + pull)
        else:
            grad = q.mul_(pull)
            keep = torch.ones_like(p).scatter_(1, y, 0)
            log_q, q = masked_softmax_(scaled(log_q, 1 / tau), keep)
            _, p = masked_softmax_(scaled(log_p, 1 / tau), keep)
            grad.add_(q, alpha=gamma * tau)
        value -= log_q.mul_(p).sum(1).mul_(gamma * tau**2).sum()
        grad.sub_(p, alpha=gamma * tau)
        return value, grad.scatter_(1, y, pull.neg_())

    return closed_form_loss(student, teacher, chunk, columns=(label,), smaller=2)
