"""Losses across rows, and one with a learned temperature: textbook form and ours.

The textbook forms follow the released code, including its temporaries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd_logit.functional import (
    batch_correlation_loss,
    class_correlation_loss,
    ctkd_loss,
    cwd_loss,
    dist_loss,
    multi_temperature_kd_loss,
)

TAU = 2.0
# Maximum number of rows for which a matrix of all rows by all rows fits in memory.
MOST_ROWS = 10_000


def pearson(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1) + 1e-8)


def textbook_dist(student: Tensor, teacher: Tensor) -> Tensor:
    q, p = F.softmax(student / TAU, dim=1), F.softmax(teacher / TAU, dim=1)
    return TAU**2 * ((1 - pearson(q, p).mean()) + (1 - pearson(q.t(), p.t()).mean()))


def textbook_class_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    q, p = F.softmax(student / TAU, dim=1), F.softmax(teacher / TAU, dim=1)
    return ((p.t() @ p - q.t() @ q) ** 2).sum() / student.shape[1]


def textbook_batch_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    q, p = F.softmax(student / TAU, dim=1), F.softmax(teacher / TAU, dim=1)
    return ((p @ p.t() - q @ q.t()) ** 2).sum() / len(student)


def textbook_multi_kd(student: Tensor, teacher: Tensor) -> Tensor:
    losses = []
    for tau in (2.0, 3.0, 4.0, 5.0, 6.0):
        log_q = F.log_softmax(student / tau, dim=1)
        p = F.softmax(teacher / tau, dim=1)
        each = F.kl_div(log_q, p, reduction='none').sum(1).mean()
        losses.append(each * tau**2)
    return torch.stack(losses).sum()


def temperature(student: Tensor) -> Tensor:
    """Return a learned temperature."""
    return torch.tensor(TAU, device=student.device, requires_grad=True)


def textbook_ctkd(student: Tensor, teacher: Tensor) -> Tensor:
    tau = temperature(student).to(student.dtype)
    log_q = F.log_softmax(student / tau, dim=1)
    p = F.softmax(teacher / tau, dim=1)
    return F.kl_div(log_q, p, reduction='batchmean') * tau * tau


@lru_cache(maxsize=1)
def eight_images(rows: int, device: torch.device) -> Tensor:
    """Return which of eight images each row belongs to."""
    return torch.arange(8, device=device).repeat_interleave(rows // 8)


def textbook_cwd(student: Tensor, teacher: Tensor) -> Tensor:
    maps = (8, len(student) // 8, student.shape[1])
    log_q = F.log_softmax(student.view(maps) / TAU, dim=1)
    p = F.softmax(teacher.view(maps) / TAU, dim=1)
    total = F.kl_div(log_q, p, reduction='sum')
    return TAU**2 * total / (8 * student.shape[1])


ACROSS_ROWS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    'DIST': (textbook_dist, partial(dist_loss, tau=TAU)),
    'MLKD, KD': (textbook_multi_kd, multi_temperature_kd_loss),
    'MLKD, classes': (
        textbook_class_correlation,
        partial(class_correlation_loss, tau=TAU),
    ),
    'MLKD, batch': (
        textbook_batch_correlation,
        partial(batch_correlation_loss, tau=TAU),
    ),
    'CTKD': (textbook_ctkd, lambda s, t: ctkd_loss(s, t, temperature(s))),
    'CWD': (
        textbook_cwd,
        lambda s, t: cwd_loss(s, t, eight_images(len(s), s.device), TAU),
    ),
}


def all_by_all(name: str, shape: tuple[int, int]) -> bool:
    """Return whether the textbook form needs more memory than there is."""
    return name == 'MLKD, batch' and shape[0] > MOST_ROWS
