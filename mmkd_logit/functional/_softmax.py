"""A row's softmax with its logarithm; and taken apart, one class against the others.

Logits are those that ``closed_form_loss`` hands to a chunk: float32 or wider, bounded,
and there to be overwritten.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_logit(logits: Tensor) -> float:
    """What takes the place of a logit that does not count.

    Beside any other class its probability is 0, and its log-softmax is finite.
    """
    return torch.finfo(logits.dtype).min / 2


def softmax_(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-softmax of each row, softmax, and logarithm of the sum of exponentials.

    Args:
        logits (Tensor): Logits of shape (N, C). They become the log-softmax.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Shapes (N, C), (N, C) and (N, 1).
    """
    top = logits.amax(1, keepdim=True)
    probs = logits.sub_(top).exp()
    total = probs.sum(1, keepdim=True)
    probs.div_(total)
    total.log_()
    return logits.sub_(total), probs, top.add_(total)


def take_apart_(logits: Tensor, one: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the softmax of each row at one class.

    Nothing is subtracted from 1, so no digit is lost where a class takes all.

    Args:
        logits (Tensor): Logits of shape (N, C). They become the second result.
        one (Tensor): A class for each row, shape (N, 1).

    Returns:
        tuple[Tensor, Tensor, Tensor]: Log-odds of the class against all others, shape
        (N, 1); log-softmax and softmax over the others, shape (N, C). At the class the
        former is finite and the latter 0, or 1 if there are no others.
    """
    own = logits.gather(1, one)
    logits.scatter_(1, one, masked_logit(logits))
    log_others, others, rest = softmax_(logits)
    # Without others the odds are endless.
    odds = own.sub_(rest).clamp_(max=torch.finfo(own.dtype).max / 4)
    return odds, log_others, others
