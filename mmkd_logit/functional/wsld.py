"""The loss of Weighted Soft Label Distillation (WSLD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_positive, label_column
from mmkd_logit.functional._closed_form import closed_form_loss, scaled

_EPS = 1e-7


def wsld_loss(
    student: Tensor, teacher: Tensor, target: Tensor, tau: float = 2.0
) -> Tensor:
    r"""Compute KD with a smaller weight on rows where the student beats the teacher.

    .. math::
        L = \frac{\tau^2}{N} \sum_n w_n \, \mathrm{H}\left(
            \mathrm{softmax}(t_n / \tau), \mathrm{softmax}(s_n / \tau) \right), \qquad
        w = 1 - \exp\left( -\frac{\mathrm{CE}(s, y)}{\mathrm{CE}(t, y) + 10^{-7}}
            \right)

    H is the cross entropy, so the loss is above 0 even where both agree. CE is the
    cross entropy with the label, without temperature. The weight gets no gradient.

    Source: https://arxiv.org/abs/2102.00650, before its factor of 2.5 (2.25 on
    CIFAR-100).

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        target (Tensor): Labels, integers of shape (N,) from 0 to C - 1.
        tau (float): Temperature, above 0. Defaults to 2.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If logits are not floating point tensors, or labels are not integers.
        ValueError: If shapes do not match, a label is out of range, or ``tau`` is
            not a finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import wsld_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{wsld_loss(student, teacher, torch.tensor([0])):.4f}')
        3.1753
    """
    check_positive('tau', tau)
    label = label_column(student, teacher, target)

    def chunk(s: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        log_q = s.log_softmax(1)
        ratio = log_q.gather(1, y).div_(_EPS - t.log_softmax(1).gather(1, y))
        weight = ratio.expm1_().neg_()
        if tau != 1:
            log_q = scaled(s, 1 / tau, out=s).log_softmax(1)
            scaled(t, 1 / tau, out=t)
        p = t.softmax(1)
        value = torch.mul(log_q, p, out=s).sum(1, keepdim=True).mul_(weight).sum()
        return value.mul_(-(tau**2)), log_q.exp_().sub_(p).mul_(weight.mul_(tau))

    return closed_form_loss(student, teacher, chunk, columns=(label,))
