"""The generalised Kullback-Leibler divergence (GKL) of DKL and IKL."""

from __future__ import annotations

from torch import Tensor

from mmkd_logit.functional._checks import check_not_negative, check_positive
from mmkd_logit.functional._closed_form import closed_form_loss, scaled

# Temperature of the class weights.
_WEIGHT_TAU = 100.0


def gkl_loss(
    student: Tensor,
    teacher: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    tau: float = 1.0,
) -> Tensor:
    r"""Compute soft cross entropy plus the weighted error of logit differences.

    .. math::
        L = \frac1N \sum_n \alpha \, \mathrm{H}\left( \mathrm{softmax}(t / \tau),
            \mathrm{softmax}(s / \tau) \right) + \frac\beta4 \sum_{j, k} w_j w_k
            \big( (t_j - t_k) - (s_j - s_k) \big)^2, \qquad
        w = \mathrm{softmax}(t / 100)

    The sum over pairs of classes is twice the variance of :math:`d = t - s` under
    :math:`w`, which takes one pass over the classes:
    :math:`\frac\beta2 \sum_c w_c (d_c - \bar d)^2`. H is the cross entropy, so the
    loss is above 0 where both agree. It has no factor :math:`\tau^2`, as in the
    released code.

    Source: https://arxiv.org/abs/2305.13948

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        alpha (float): Factor of the cross entropy, 0 or more. Defaults to 1.0.
        beta (float): Factor of the pair term, 0 or more. Defaults to 1.0.
        tau (float): Temperature of the cross entropy, above 0. Defaults to 1.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or a factor or ``tau`` is
            out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import gkl_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> print(f'{gkl_loss(student, teacher):.4f}')
        0.7014
    """
    check_not_negative('alpha', alpha)
    check_not_negative('beta', beta)
    check_positive('tau', tau)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        weight = scaled(t, 1 / _WEIGHT_TAU).softmax(1)
        gap = t - s
        gap.sub_((weight * gap).sum(1, keepdim=True))
        pull = weight.mul_(gap).mul_(beta)
        value = gap.mul_(pull).sum() / 2
        if tau != 1:
            s, t = scaled(s, 1 / tau), scaled(t, 1 / tau)
        log_q, p = s.log_softmax(1), t.softmax(1)
        value -= (log_q * p).sum(1).mul_(alpha).sum()
        grad = log_q.exp_().sub_(p).mul_(alpha / tau)
        return value, grad.sub_(pull)

    return closed_form_loss(student, teacher, chunk)
