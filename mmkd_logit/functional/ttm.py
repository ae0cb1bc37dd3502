"""The losses of Transformed Teacher Matching: TTM and WTTM."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_positive
from mmkd_logit.functional._closed_form import closed_form_loss, scaled


def ttm_loss(student: Tensor, teacher: Tensor, gamma: float = 0.1) -> Tensor:
    r"""Compute the KL divergence from the softened teacher to the unsoftened student.

    .. math::
        L = \frac1N \sum_n \mathrm{KL}\left(
            \mathrm{softmax}(\gamma t_n) \,\|\, \mathrm{softmax}(s_n) \right)

    The student has no temperature, so there is no factor of :math:`\tau^2`.

    Source: https://arxiv.org/abs/2402.11148

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        gamma (float): Exponent of the teacher's probabilities, above 0, one over a
            temperature. Defaults to 0.1.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``gamma`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import ttm_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{ttm_loss(student, teacher):.4f}')
        0.3266
    """
    check_positive('gamma', gamma)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        log_q, log_u = s.log_softmax(1), scaled(t, gamma).log_softmax(1)
        u = torch.exp(log_u, out=t)
        value = log_u.sub_(log_q).mul_(u).sum()
        return value, log_q.exp_().sub_(u)

    return closed_form_loss(student, teacher, chunk)


def wttm_loss(student: Tensor, teacher: Tensor, gamma: float = 0.1) -> Tensor:
    r"""Compute TTM with a larger weight on rows where the teacher is less sure.

    .. math::
        L = \frac1N \sum_n \Big( \sum_c p_{nc}^\gamma \Big) \mathrm{KL}\left(
            \mathrm{softmax}(\gamma t_n) \,\|\, \mathrm{softmax}(s_n) \right),
        \qquad p = \mathrm{softmax}(t)

    Source: https://arxiv.org/abs/2402.11148

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        gamma (float): Exponent of the teacher's probabilities, above 0, one over a
            temperature. Defaults to 0.1.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``gamma`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import wttm_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{wttm_loss(student, teacher):.4f}')
        0.7823
    """
    check_positive('gamma', gamma)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        log_q, log_power = s.log_softmax(1), scaled(t.log_softmax(1), gamma)
        log_u = log_power.log_softmax(1)
        # The two maxima belong to one class: their difference is the logarithm of
        # the sum of powers.
        top = log_power.amax(1, keepdim=True)
        weight = top.sub_(log_u.amax(1, keepdim=True)).exp_()
        u = torch.exp(log_u, out=t)
        value = log_u.sub_(log_q).mul_(u).mul_(weight).sum()
        return value, log_q.exp_().sub_(u).mul_(weight)

    return closed_form_loss(student, teacher, chunk)
