"""KD with a learned temperature, as in Curriculum Temperature (CTKD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_logits
from mmkd_logit.functional._closed_form import closed_form_loss, loss_of_sum


def ctkd_loss(student: Tensor, teacher: Tensor, tau: Tensor) -> Tensor:
    r"""Compute Hinton's distillation loss, with a gradient for its temperature too.

    .. math::
        L = \frac{\tau^2}{N} \sum_n \mathrm{KL}(p_n \,\|\, q_n), \qquad
        p = \mathrm{softmax}(t / \tau), \quad q = \mathrm{softmax}(s / \tau)

    .. math::
        \frac{\partial L}{\partial \tau} = \frac1N \sum_n \left[
            2 \tau \, \mathrm{KL}(p_n \,\|\, q_n)
            - \mathrm{Cov}_{p_n} \Bigl( t_n, \log \frac{p_n}{q_n} \Bigr)
            + \langle s_n \rangle_{p_n} - \langle s_n \rangle_{q_n} \right]

    Source: https://arxiv.org/abs/2211.16231

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        tau (Tensor): Temperature, above 0, of shape (). Its value is not checked, which
            would synchronize with a GPU.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the logits' shapes differ or are not (N, C), or ``tau`` is not
            of shape ().

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import ctkd_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> tau = torch.tensor(1.0, requires_grad=True)
        >>> loss = ctkd_loss(student, teacher, tau)
        >>> loss.backward()
        >>> print(f'{loss:.4f} {tau.grad:.4f}')
        0.0928 0.2239
    """
    check_logits('tau', tau)
    if tau.ndim != 0:
        raise ValueError(
            f'tau must be one number, of shape (), but got {tuple(tau.shape)}.'
        )
    fixed = tau.detach()
    for_tau = torch.zeros((), dtype=torch.float64, device=student.device)

    def chunk(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        one = fixed.to(s.dtype)
        s.div_(one)
        t.div_(one)
        log_q, log_p = s.log_softmax(1), t.log_softmax(1)
        p = log_p.exp()
        divergence = log_p.sub_(log_q).mul_(p)
        slope = log_q.exp_().sub_(p)
        value = divergence.sum()
        if tau.requires_grad:
            spread = t.sub_(p.mul_(t).sum(1, keepdim=True))
            along = spread.mul_(divergence).sum() + s.mul_(slope).sum()
            for_tau.add_(2 * value - along)
        return value * one**2, slope.mul_(one)

    loss = closed_form_loss(student, teacher, chunk)
    if not tau.requires_grad:
        return loss
    for_tau *= fixed / max(1, len(student))
    # With absurd logits, products leave the range of the dtype and cancel.
    most = torch.finfo(tau.dtype).max
    slope = for_tau.nan_to_num(nan=0.0).clamp(-most, most)
    return loss + loss_of_sum(
        tau, loss.dtype, lambda _: (torch.zeros_like(for_tau), slope), 1.0
    )
