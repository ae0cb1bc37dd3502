"""Averages gradients over the processes of a distributed training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def mean_over_ranks(grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Mean of each gradient over all processes, with one packed all-reduce.

    Args:
        grads (Sequence[Tensor | None]): Gradients, absent ones as None. The same ones
            are absent in every process.

    Returns:
        list[Tensor | None]: Their means, the same in every process.
    """
    present = [grad for grad in grads if grad is not None]
    if get_world_size() == 1 or not present:
        return list(grads)
    packed = torch.cat([grad.reshape(-1) for grad in present])
    all_reduce(packed)
    packed /= get_world_size()
    parts = iter(packed.split([grad.numel() for grad in present]))
    return [
        None if grad is None else next(parts).view(grad.shape).to(grad.dtype)
        for grad in grads
    ]
