"""The loss of Normalized Logits for Knowledge Distillation (NormKD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_pair, check_positive
from mmkd_logit.functional._closed_form import bound, closed_form_loss, scaled
from mmkd_logit.functional.standardize import row_units


def normkd_loss(student: Tensor, teacher: Tensor, tau: float = 2.0) -> Tensor:
    r"""Compute KD with a separate temperature for each row of each model.

    .. math::
        L = \frac1N \sum_n (\tau \sigma(t_n))^2 \, \mathrm{KL}\left(
            \mathrm{softmax}\Big( \frac{t_n}{\tau \sigma(t_n)} \Big) \,\Big\|\,
            \mathrm{softmax}\Big( \frac{s_n}{\tau \sigma(s_n)} \Big) \right)

    :math:`\sigma` is the unbiased standard deviation of a row, through which the
    gradient flows too. It differs from :func:`kd_loss` of standardized logits by the
    factor :math:`\sigma(t_n)^2` for each row. For a constant teacher row this factor
    is 0.

    Source: https://arxiv.org/abs/2308.00520

    Args:
        student (Tensor): Logits of shape (N, C) with C >= 2.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature in standard deviations, above 0. Defaults to 2.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C) with C >= 2, or
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
    if student.shape[1] < 2:
        raise ValueError(
            'A standard deviation needs at least 2 classes, but the logits have the '
            f'shape {tuple(student.shape)} (rows, classes).'
        )

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        std_s, std_t = _standardize_(s), _standardize_(t)
        weight = std_t.square_().clamp_(max=bound(s))
        log_q, log_p = scaled(s, 1 / tau).log_softmax(1), t.div_(tau).log_softmax(1)
        p = torch.exp(log_p, out=t)
        value = log_p.sub_(log_q).mul_(p).sum(1, keepdim=True).mul_(weight).sum()
        # Chain rule of a row divided by its own deviation.
        slope = log_q.exp_().sub_(p)
        along = (slope * s).sum(1, keepdim=True).div_(s.shape[1] - 1)
        slope.addcmul_(s, along, value=-1)
        rate = torch.where(std_s > 0, weight.div_(tau * std_s), 0.0)
        return value, slope.mul_(rate.clamp_(max=bound(s)))

    return closed_form_loss(student, teacher, chunk, scale=tau**2, smaller=2)


def _standardize_(logits: Tensor) -> Tensor:
    """Compute z-scores in place; return the standard deviations, shape (N, 1)."""
    offset, unit = row_units(logits)
    logits.div_(unit).sub_(offset)
    logits.sub_(logits.mean(1, keepdim=True))
    std = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    std.div_((logits.shape[1] - 1) ** 0.5)
    logits.mul_(torch.where(std > 0, std.reciprocal(), 0.0))
    return std.mul_(unit)
