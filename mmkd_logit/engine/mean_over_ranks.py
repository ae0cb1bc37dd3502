"""Averages gradients over the processes of a distributed training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def mean_over_ranks(
    grads: Sequence[Tensor | None], params: Sequence[Tensor]
) -> list[Tensor | None]:
    """Mean of each gradient over all processes, with one packed all-reduce.

    Args:
        grads (Sequence[Tensor | None]): Gradients, absent ones as None; an absent one
            counts as 0.
        params (Sequence[Tensor]): What they are gradients of, on one device.

    Returns:
        list[Tensor | None]: Their means, the same in every process. None where the
        gradient is absent in all of them.
    """
    if get_world_size() == 1 or not params:
        return list(grads)
    whole = [
        torch.zeros_like(param) if grad is None else grad
        for grad, param in zip(grads, params)
    ]
    there = whole[0].new_tensor([grad is not None for grad in grads])
    packed = torch.cat([*(grad.reshape(-1) for grad in whole), there])
    all_reduce(packed)
    packed /= get_world_size()
    *parts, shares = packed.split([*(grad.numel() for grad in whole), len(whole)])
    return [
        part.view(grad.shape).to(grad.dtype) if share > 0 else None
        for part, grad, share in zip(parts, whole, shares.tolist())
    ]
