"""Merging of classes, for losses that compare softmaxes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_positive, compute_dtype


def lump_classes(logits: Tensor, kept: Tensor, tau: float = 1.0) -> Tensor:
    r"""Keep some classes of each row, and merge all others into one.

    The softmax of the result at temperature ``tau`` has the probabilities of the kept
    classes, followed by the sum of all others:

    .. math::
        r_n = \tau \log \sum_{c \notin \mathrm{kept}_n} \exp(z_{n,c} / \tau)

    Args:
        logits (Tensor): Shape (N, C).
        kept (Tensor): Distinct classes of each row, shape (N, k), with k below C.
        tau (float): Temperature, above 0. Defaults to 1.0.

    Returns:
        Tensor: Shape (N, k + 1), in float32 or wider.

    Raises:
        ValueError: If ``tau`` is not a finite number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import lump_classes
        >>> logits = torch.tensor([[2.0, 1.0, 0.0, 1.0]])
        >>> lump_classes(logits, torch.tensor([[0, 3]])).softmax(1)
        tensor([[0.5344, 0.1966, 0.2689]])
        >>> logits.softmax(1)
        tensor([[0.5344, 0.1966, 0.0723, 0.1966]])
    """
    check_positive('tau', tau)
    wide = logits.to(compute_dtype(logits))
    others = (wide / tau).scatter(1, kept, -torch.inf)
    rest = tau * others.logsumexp(1, keepdim=True)
    return torch.cat([wide.gather(1, kept), rest], dim=1)
