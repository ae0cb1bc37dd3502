"""Correction of a teacher's errors by swapping two of its logits."""

from __future__ import annotations

from torch import Tensor

from mmkd_logit.functional._checks import label_column


def swap_errors(logits: Tensor, target: Tensor) -> Tensor:
    """Swap the largest logit of each row with that of the label.

    Rows in which the label has the largest logit stay as they are. In the others, only
    these two classes change.

    Source: https://arxiv.org/abs/2504.20108

    Args:
        logits (Tensor): Logits of shape (N, C).
        target (Tensor): Labels, integers of shape (N,) from 0 to C - 1.

    Returns:
        Tensor: Shape (N, C).

    Raises:
        TypeError: If logits are not a floating point tensor, or labels not integers.
        ValueError: If shapes do not match, or a label is out of range.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import swap_errors
        >>> logits = torch.tensor([[4.0, 1.0, 0.0], [4.0, 1.0, 0.0]])
        >>> swap_errors(logits, torch.tensor([0, 2]))
        tensor([[4., 1., 0.],
                [0., 1., 4.]])
    """
    label = label_column(logits, logits, target)
    top, place = logits.max(1, keepdim=True)
    return logits.scatter(1, place, logits.gather(1, label)).scatter(1, label, top)
