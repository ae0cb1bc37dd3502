"""The loss of Refined Logit Distillation (RLD)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import (
    check_not_negative,
    check_positive,
    label_column,
)
from mmkd_logit.functional._closed_form import closed_form_loss, scaled
from mmkd_logit.functional._softmax import (
    masked_softmax_,
    take_apart_,
    top_odds,
)
from mmkd_logit.functional.binary_kl import binary_kl


def rld_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    tau: float = 4.0,
    alpha_tau: float = 1.0,
) -> Tensor:
    r"""Compute the KL of the teacher's confidence and of the classes below the label.

    .. math::
        L = \frac1N \sum_n \alpha \tau_\alpha^2 \,
            \mathrm{KL}\big( (p_{max}, 1 - p_{max}) \,\|\, (q_y, 1 - q_y) \big) +
            \beta \tau^2 \, \mathrm{KL}(p_M \,\|\, q_M), \qquad
        M = \{ c : t_c < t_y \}

    In the first term :math:`p` and :math:`q` are the softmax of the teacher's and the
    student's logits over :math:`\tau_\alpha`, so the student should be as sure of the
    label as the teacher is of its prediction. In the second, they are over :math:`\tau`
    and the classes of :math:`M`; this term is 0 where the teacher ranks the label last.

    Source: https://arxiv.org/abs/2408.07703. Classes are masked exactly; the
    released code sets their logits to -1e9.

    Args:
        student (Tensor): Logits of shape (N, C), one prediction per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        target (Tensor): Labels, integers of shape (N,) from 0 to C - 1.
        alpha (float): Factor of the first term, 0 or more. Defaults to 1.0.
        beta (float): Factor of the second term, 0 or more. Defaults to 8.0.
        tau (float): Temperature of the second term, above 0. Defaults to 4.0.
        alpha_tau (float): Temperature of the first term, above 0. Defaults to 1.0.

    Returns:
        Tensor: A scalar, the mean over rows, in float32 or wider.

    Raises:
        TypeError: If logits are not floating point tensors, or labels are not integers.
        ValueError: If shapes do not match, a label is out of range, or a factor or
            temperature is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import rld_loss
        >>> student = torch.tensor([[2.0, 0.0, 0.0]])
        >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
        >>> target = torch.tensor([0])
        >>> print(f'{rld_loss(student, teacher, target):.4f}')
        1.0779
    """
    check_not_negative('alpha', alpha)
    check_not_negative('beta', beta)
    check_positive('tau', tau)
    check_positive('alpha_tau', alpha_tau)
    label = label_column(student, teacher, target)

    def chunk(s: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # Before dividing by a temperature, which may round two logits to one.
        keep = torch.lt(t, t.gather(1, y), out=torch.empty_like(t))
        odds_p = top_odds(scaled(t, 1 / alpha_tau))
        log_p, p = masked_softmax_(scaled(t, 1 / tau), keep)
        log_q, q = masked_softmax_(scaled(s, 1 / tau), keep)
        value = log_p.sub_(log_q).mul_(p).sum(1).mul_(beta * tau**2).sum()
        refined = q.sub_(p).mul_(beta * tau)

        odds_q, _, others = take_apart_(scaled(s, 1 / alpha_tau), y)
        sure, slope = binary_kl(odds_q, odds_p)
        value += sure.mul_(alpha * alpha_tau**2).sum()
        slope.mul_(alpha * alpha_tau)
        grad = others.mul_(slope.neg()).scatter_(1, y, slope)
        return value, grad.add_(refined)

    return closed_form_loss(student, teacher, chunk, columns=(label,), smaller=2)
