"""Rows of all processes, where each may have another number of them."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor


@torch.no_grad()
def gather_rows(*tensors: Tensor | None) -> tuple[list[Tensor | None], int]:
    """Put the rows of all processes one after another, in the order of their ranks.

    Every process must call it, also one that has no rows.

    Args:
        tensors (Tensor | None): Of the same number of rows, shape (N, ...). None stays
            None, and must be None in every process.

    Returns:
        tuple[list[Tensor | None], int]: The tensors with the rows of all processes,
        without gradient, and the place of this process's first row among them.
    """
    if get_world_size() == 1:
        return list(tensors), 0
    first = next(tensor for tensor in tensors if tensor is not None)
    mine = torch.tensor([len(first)], device=first.device)
    sizes = torch.cat(all_gather(mine)).tolist()
    gathered: list[Tensor | None] = []
    for tensor in tensors:
        if tensor is None:
            gathered.append(None)
            continue
        # Collectives take the same shape from every process.
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = zip(all_gather(padded), sizes)
        gathered.append(torch.cat([part[:size] for part, size in parts]))
    return gathered, sum(sizes[: get_rank()])
