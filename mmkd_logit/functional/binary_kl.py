"""The two logit-level losses of Dual-Head Knowledge Distillation (DHKD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_positive
from mmkd_logit.functional._closed_form import closed_form_loss, softplus

# Beyond this, log cosh x = x - log 2 to the last digit of a float64.
_LINEAR = 20.0


def binary_kl_loss(student: Tensor, teacher: Tensor, tau: float = 2.0) -> Tensor:
    r"""Compute BinaryKL: the binary KL divergence of each class, summed over classes.

    .. math::
        L = \frac{\tau^2}{N} \sum_{n, c}
            \mathrm{KL}(\sigma(t_{nc} / \tau) \,\|\, \sigma(s_{nc} / \tau)) +
            \mathrm{KL}(\sigma(-t_{nc} / \tau) \,\|\, \sigma(-s_{nc} / \tau))

    Summed over classes, mean over rows. Its gradient is
    :math:`\frac{\tau}{N} (\sigma(s / \tau) - \sigma(t / \tau))`.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature, above 0. Defaults to 2.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``tau`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import binary_kl_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{binary_kl_loss(student, teacher):.4f}')
        0.3897
    """
    check_positive('tau', tau)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = binary_kl(s, t)
        return value.sum(), slope.div_(tau)

    return closed_form_loss(student, teacher, chunk, tau, scale=tau**2)


def binary_kl(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the binary KL divergence of log-odds and its gradient; overwrite both."""
    # KL is the same for (s, t) and (-s, -t). With b >= 0 no large numbers
    # cancel: value = softplus(-a) - softplus(-b) + sigma(-b) (a - b).
    sign = torch.ones_like(t).copysign_(t)
    a, b = s.mul_(sign), t.mul_(sign)
    not_p = torch.sigmoid(-b)
    value = softplus(-a).sub_(softplus(-b)).addcmul_(not_p, a - b)
    return value, not_p.sub_(torch.sigmoid(-a)).mul_(sign)


def binary_kl_norm_loss(student: Tensor, teacher: Tensor, tau: float = 2.0) -> Tensor:
    r"""Compute BinaryKL-Norm: BinaryKL of the difference of logits against zero.

    .. math::
        L = \frac{\tau^2}{N} \sum_{n, c}
            \mathrm{KL}(\tfrac12 \,\|\, \sigma(d_{nc})) +
            \mathrm{KL}(\tfrac12 \,\|\, \sigma(-d_{nc}))
          = \frac{\tau^2}{N} \sum_{n, c} \log\cosh\frac{d_{nc}}{2},
        \qquad d = (s - t) / \tau

    Summed over classes, mean over rows. Its gradient is
    :math:`\frac{\tau}{2N} \tanh\frac{s - t}{2 \tau}`.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (float): Temperature, above 0. Defaults to 2.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``tau`` is not a
            finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import binary_kl_norm_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{binary_kl_norm_loss(student, teacher):.4f}')
        0.6042
    """
    check_positive('tau', tau)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = s.sub_(t).div_(2 * tau)
        size = torch.abs(x, out=t)
        near = size.clamp(max=_LINEAR)
        far = size.sub_(near).sum()
        # Exact near 0 too, with u = exp(|x|) - 1 and v = exp(2 |x|) - 1:
        # log cosh x = log(1 + u^2 / (2 (1 + u))) and tanh |x| = v / (v + 2).
        u = near.expm1_()
        square = torch.square(u, out=size)
        v = torch.add(square, u, alpha=2)
        value = square.div_(u.add_(1)).div_(2).log1p_().sum() + far
        slope = v.div_(torch.add(v, 2, out=u)).copysign_(x).div_(2 * tau)
        return value, slope

    return closed_form_loss(student, teacher, chunk, scale=tau**2)
