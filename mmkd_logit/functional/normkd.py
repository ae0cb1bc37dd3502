"""The loss of Normalized Logits for Knowledge Distillation (NormKD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_pair, check_positive
from mmkd_logit.functional._closed_form import closed_form_loss
from mmkd_logit.functional.standardize import scale_by_std


def normkd_loss(student: Tensor, teacher: Tensor, tau: float = 2.0) -> Tensor:
    r"""KD in which each row of each model has a temperature of its own.

    .. math::
        L = \frac1N \sum_n (\tau \sigma(t_n))^2 \, \mathrm{KL}\left(
            \mathrm{softmax}\Big( \frac{t_n}{\tau \sigma(t_n)} \Big) \,\Big\|\,
            \mathrm{softmax}\Big( \frac{s_n}{\tau \sigma(s_n)} \Big) \right)

    :math:`\sigma` is the unbiased standard deviation of a row, through which the
    gradient flows too. Of :func:`kd_loss` of standardized logits it differs by the
    factor :math:`\sigma(t_n)^2` of each row. A constant row of the teacher has the
    factor 0.

    Source: https://arxiv.org/abs/2308.00520

    Args:
        student (Tensor): Logits of shape (N, C) with C of 2 or more.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature in standard deviations, above 0. Defaults to 2.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C) with C of 2 or more, or
            ``tau`` is not a finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import normkd_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{normkd_loss(student, teacher):.4f}')
        0.0600
    """
    check_positive('tau', tau)
    check_pair(student, teacher)
    own, _ = scale_by_std(student)
    other, std = scale_by_std(teacher.detach())
    factor = std.square().clamp(max=torch.finfo(std.dtype).max / 4)

    def chunk(s: Tensor, t: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        log_q, log_p = s.log_softmax(1), t.log_softmax(1)
        p = log_p.exp()
        value = log_p.sub_(log_q).mul_(p).mul_(weight).sum()
        return value, log_q.exp_().sub_(p).mul_(weight).div_(tau)

    return closed_form_loss(own, other, chunk, tau, tau**2, columns=(factor,))
