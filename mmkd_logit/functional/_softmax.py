"""The softmax of each row over some of its classes, with its logarithm.

Logits are those that ``closed_form_loss`` hands to a chunk: float32 or wider, bounded,
and there to be overwritten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._closed_form import bound


def take_apart_(logits: Tensor, one: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the softmax of each row at one class.

    Nothing is subtracted from 1, so no digit is lost where a class takes all.

    Args:
        logits (Tensor): Logits of shape (N, C). They become the second result.
        one (Tensor): A class for each row, shape (N, 1).

    Returns:
        tuple[Tensor, Tensor, Tensor]: Log-odds of the class against all others, shape
        (N, 1); log-softmax and softmax over the others, shape (N, C). At the class the
        former is any finite number and the latter 0.
    """
    own = logits.gather(1, one)
    top = logits.scatter_(1, one, _masked(logits)).amax(1, keepdim=True)
    # The exponential of what is far off takes much longer than that of 0.
    others = logits.sub_(top).scatter_(1, one, 0).exp()
    rest = _normalize_(logits, others.scatter_(1, one, 0))
    # Without others the odds are endless.
    odds = own.sub_(top).sub_(rest).clamp_(max=bound(logits))
    return odds, logits, others


def masked_softmax_(logits: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax and softmax over the classes that count.

    Args:
        logits (Tensor): Logits of shape (N, C). They become the first result.
        keep (Tensor): 1 where a class counts, and 0 elsewhere, shape (N, C).

    Returns:
        tuple[Tensor, Tensor]: Both of shape (N, C). Where a class does not count the
        former is any finite number and the latter 0.
    """
    top = keep.sub(1).mul_(-_masked(logits)).add_(logits).amax(1, keepdim=True)
    probs = logits.sub_(top).mul_(keep).exp().mul_(keep)
    _normalize_(logits, probs)
    return logits, probs


def top_odds(logits: Tensor) -> Tensor:
    """Log-odds of the largest logit of each row against all others, shape (N, 1)."""
    top = logits.amax(1, keepdim=True)
    ties = torch.eq(logits, top, out=torch.empty_like(logits))
    others = (logits - top).exp_().sub_(ties).sum(1, keepdim=True)
    others.add_(ties.sum(1, keepdim=True).sub_(1))
    # Where nothing is left for the others, the odds are endless.
    return others.log_().neg_().clamp_(max=bound(logits))


def _normalize_(shifted: Tensor, exps: Tensor) -> Tensor:
    """Make logits and their exponentials log-softmax and softmax; return log sums."""
    # Only without any class that counts there is no 1 among the exponentials.
    total = exps.sum(1, keepdim=True).clamp_(min=torch.finfo(exps.dtype).tiny)
    exps.div_(total)
    shifted.sub_(total.log_())
    return total


def _masked(logits: Tensor) -> float:
    """What no logit that counts is below, nor any difference with it infinite."""
    return torch.finfo(logits.dtype).min / 2
