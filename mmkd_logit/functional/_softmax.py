"""Softmax and log-softmax of each row over some of its classes.

Logits are as ``closed_form_loss`` passes them to a chunk function: float32 or wider,
bounded, and free to be overwritten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._closed_form import bound


def take_apart_(logits: Tensor, one: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the softmax of each row at one class.

    Nothing is subtracted from 1, so no digits are lost where one class takes all.

    Args:
        logits (Tensor): Logits of shape (N, C). Overwritten by the second result.
        one (Tensor): One class per row, shape (N, 1).

    Returns:
        tuple[Tensor, Tensor, Tensor]: Log-odds of the class against all others, shape
        (N, 1); log-softmax and softmax over the others, shape (N, C). At the class
        itself the former is an arbitrary finite number and the latter 0.
    """
    own = logits.gather(1, one)
    top = logits.scatter_(1, one, _masked(logits)).amax(1, keepdim=True)
    # The exponential of a large negative number is much slower than that of 0.
    others = logits.sub_(top).scatter_(1, one, 0).exp()
    rest = _normalize_(logits, others.scatter_(1, one, 0))
    # Without other classes, the odds are infinite.
    odds = own.sub_(top).sub_(rest).clamp_(max=bound(logits))
    return odds, logits, others


def masked_softmax_(logits: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Compute log-softmax and softmax over the classes to keep.

    Args:
        logits (Tensor): Logits of shape (N, C). Overwritten by the first result.
        keep (Tensor): 1 where a class is kept, and 0 elsewhere, shape (N, C).

    Returns:
        tuple[Tensor, Tensor]: Both of shape (N, C). Where a class is not kept, the
        former is an arbitrary finite number and the latter 0.
    """
    top = keep.sub(1).mul_(-_masked(logits)).add_(logits).amax(1, keepdim=True)
    probs = logits.sub_(top).mul_(keep).exp().mul_(keep)
    _normalize_(logits, probs)
    return logits, probs


def top_odds(logits: Tensor) -> Tensor:
    """Return log-odds of each row's largest logit against the others, shape (N, 1)."""
    top = logits.amax(1, keepdim=True)
    ties = torch.eq(logits, top, out=torch.empty_like(logits))
    others = (logits - top).exp_().sub_(ties).sum(1, keepdim=True)
    others.add_(ties.sum(1, keepdim=True).sub_(1))
    # Where the others have no mass left, the odds are infinite.
    return others.log_().neg_().clamp_(max=bound(logits))


def _normalize_(shifted: Tensor, exps: Tensor) -> Tensor:
    """Normalize to log-softmax and softmax in place; return the log-sums."""
    # One of the exponentials is 1, unless no class is kept.
    total = exps.sum(1, keepdim=True).clamp_(min=torch.finfo(exps.dtype).tiny)
    exps.div_(total)
    shifted.sub_(total.log_())
    return total


def _masked(logits: Tensor) -> float:
    """Return a value below all valid logits with finite differences to them."""
    return torch.finfo(logits.dtype).min / 2
