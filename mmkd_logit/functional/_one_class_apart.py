"""A row's softmax, taken apart: one class against the others, and the others."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_logit(logits: Tensor) -> float:
    """What takes the place of a logit that does not count.

    No probability is left of it beside one of another class, and differences of
    log-softmax stay finite.
    """
    return torch.finfo(logits.dtype).min / 2


def take_apart(logits: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    """Split the softmax of each row at one class.

    Nothing is subtracted from 1, so no digit is lost where a class takes all.

    Args:
        logits (Tensor): Logits of shape (N, C), float32 or wider, bounded as
            :func:`closed_form_loss` bounds them. Those of the classes are overwritten.
        one (Tensor): A class for each row, shape (N, 1).

    Returns:
        tuple[Tensor, Tensor]: Log-odds of the class against all others, shape (N, 1),
        and the log-softmax over the others, shape (N, C). At the class it is finite,
        and its exponential is 0, or 1 if there are no others.
    """
    own = logits.gather(1, one)
    logits.scatter_(1, one, masked_logit(logits))
    log_others = logits.log_softmax(1)
    # The two maxima belong to one class; few digits cancel there.
    rest = logits.amax(1, keepdim=True).sub_(log_others.amax(1, keepdim=True))
    # Without others the odds are endless.
    return own.sub_(rest).clamp_(max=torch.finfo(own.dtype).max / 4), log_others
