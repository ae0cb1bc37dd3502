"""Losses of other papers in the form of their authors' code, for comparison.

Each is our own code, but follows the released code step by step in its operators and
temporaries: masking by large numbers, boolean indexing, one tensor per operation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _label_mask(logits: Tensor, label: Tensor) -> Tensor:
    return torch.zeros_like(logits).scatter_(1, label[:, None], 1).bool()


def _label_and_rest(probs: Tensor, mask: Tensor) -> Tensor:
    at_label = (probs * mask).sum(1, keepdim=True)
    rest = (probs * ~mask).sum(1, keepdim=True)
    return torch.cat([at_label, rest], 1)


def dkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    tau: float,
) -> Tensor:
    """Compute DKD, masking the label by subtracting 1000."""
    mask = _label_mask(student, target)
    q = _label_and_rest(F.softmax(student / tau, 1), mask)
    p = _label_and_rest(F.softmax(teacher / tau, 1), mask)
    sure = F.kl_div(torch.log(q), p, reduction='sum') * tau**2 / len(target)
    others_p = F.softmax(teacher / tau - 1000.0 * mask, 1)
    others_q = F.log_softmax(student / tau - 1000.0 * mask, 1)
    others = F.kl_div(others_q, others_p, reduction='sum') * tau**2 / len(target)
    return alpha * sure + beta * others


def nkd(
    student: Tensor, teacher: Tensor, target: Tensor, gamma: float, tau: float
) -> Tensor:
    """Compute NKD, gathering the other classes by a mask."""
    column = target[:, None]
    log_q, p = F.log_softmax(student, 1), F.softmax(teacher, 1)
    at_label = -(p.gather(1, column) * log_q.gather(1, column)).mean()
    others = torch.ones_like(student).scatter_(1, column, 0).bool()
    s = student[others].reshape(len(student), -1)
    t = teacher[others].reshape(len(student), -1)
    log_q, p = F.log_softmax(s / tau, 1), F.softmax(t / tau, 1)
    return at_label - gamma * tau**2 * (p * log_q).sum(1).mean()


def ttm(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """Compute TTM: the teacher's powers are divided by their sum."""
    power = torch.pow(F.softmax(teacher, 1), gamma)
    u = power / power.sum(1, keepdim=True)
    return F.kl_div(F.log_softmax(student, 1), u, reduction='batchmean')


def wttm(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """Compute WTTM: TTM with the sum as each row's weight."""
    power = torch.pow(F.softmax(teacher, 1), gamma)
    total = power.sum(1)
    u = power / total[:, None]
    each = F.kl_div(F.log_softmax(student, 1), u, reduction='none').sum(1)
    return (each * total).mean()


def rld(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    tau: float,
    alpha_tau: float,
) -> Tensor:
    """Compute RLD, masking logits by -1e9."""
    q = F.softmax(student / alpha_tau, 1)
    p = F.softmax(teacher / alpha_tau, 1)
    q = _label_and_rest(q, _label_mask(student, target))
    p = _label_and_rest(p, _label_mask(teacher, teacher.argmax(1)))
    sure = F.kl_div(torch.log(q), p, reduction='batchmean') * alpha_tau**2
    masked = teacher >= teacher.gather(1, target[:, None])
    log_q = F.log_softmax((student / tau).masked_fill(masked, -1e9), 1)
    p = F.softmax((teacher / tau).masked_fill(masked, -1e9), 1)
    refined = F.kl_div(log_q, p, reduction='batchmean') * tau**2
    return alpha * sure + beta * refined


def wsld(student: Tensor, teacher: Tensor, target: Tensor, tau: float) -> Tensor:
    """Compute WSLD, picking the label's cross entropy by one-hot vectors."""
    p = F.softmax(teacher / tau, 1)
    soft = -(p * F.log_softmax(student / tau, 1)).sum(1, keepdim=True)
    log_q, log_p = F.log_softmax(student.detach(), 1), F.log_softmax(teacher, 1)
    one_hot = F.one_hot(target, student.shape[1]).float()
    hard_q = -(one_hot * log_q).sum(1, keepdim=True)
    hard_p = -(one_hot * log_p).sum(1, keepdim=True)
    weight = 1 - torch.exp(-(hard_q / (hard_p + 1e-7)).clamp(min=0))
    return tau**2 * (weight * soft).mean()


def gkl(
    student: Tensor, teacher: Tensor, alpha: float, beta: float, tau: float
) -> Tensor:
    """Compute GKL on tensors of rows x classes x classes."""
    of_teacher = teacher[:, :, None] - teacher[:, None]
    of_student = student[:, :, None] - student[:, None]
    weight = F.softmax(teacher / 100, 1)
    pairs = weight[:, :, None] @ weight[:, None]
    squares = (torch.pow(of_teacher - of_student, 2) * pairs).sum()
    p, log_q = F.softmax(teacher / tau, 1), F.log_softmax(student / tau, 1)
    soft = -(p * log_q).sum(1).mean()
    return beta * squares / 4 / len(student) + alpha * soft


def normkd(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Compute NormKD, with a temperature for each row of each model."""
    tau_s = student.std(1, keepdim=True) * tau
    tau_t = teacher.std(1, keepdim=True) * tau
    log_q, p = F.log_softmax(student / tau_s, 1), F.softmax(teacher / tau_t, 1)
    each = F.kl_div(log_q, p, reduction='none').sum(1, keepdim=True)
    return (each * tau_t**2).mean()
