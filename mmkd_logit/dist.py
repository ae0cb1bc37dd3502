"""Means, sums, gathers and ordering over the processes of distributed training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def get_world_size() -> int:
    """Number of processes, 1 outside of a distributed training."""
    ready = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if ready else 1


def mean_over_ranks(
    grads: Sequence[Tensor | None], params: Sequence[Tensor]
) -> list[Tensor | None]:
    """Average each gradient over all processes, with one packed all-reduce.

    Args:
        grads (Sequence[Tensor | None]): Gradients, absent ones as None; an absent one
            counts as 0.
        params (Sequence[Tensor]): Parameters of these gradients, on one device.

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
    present = whole[0].new_tensor([grad is not None for grad in grads])
    packed = torch.cat([*(grad.reshape(-1) for grad in whole), present])
    dist.all_reduce(packed)
    packed /= get_world_size()
    *parts, shares = packed.split([*(grad.numel() for grad in whole), len(whole)])
    return [
        part.view(grad.shape).to(grad.dtype) if share > 0 else None
        for part, grad, share in zip(parts, whole, shares.tolist())
    ]


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes; its gradient is summed over them too.

    Every process must call it, and backpropagate through it if any does.

    Args:
        tensor (Tensor): Same shape in every process.

    Returns:
        Tensor: The sum, of that shape.
    """
    return tensor if get_world_size() == 1 else _SumOverRanks.apply(tensor)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return _SumOverRanks.apply(grad_output)


def share_of_rows(rows: Tensor) -> Tensor | float:
    """Return the factor that turns a mean over this process's rows into its share.

    The mean over processes of such shares is the mean over all rows. Every process must
    call it.

    Args:
        rows (Tensor): The rows of this process, shape (N, ...).

    Returns:
        Tensor | float: N over the mean of the N of all processes.
    """
    if get_world_size() == 1:
        return 1.0
    count = torch.tensor(float(len(rows)), device=rows.device)
    return count * get_world_size() / sum_over_ranks(count).clamp(min=1)


@torch.no_grad()
def gather_rows(*tensors: Tensor | None) -> tuple[list[Tensor | None], int]:
    """Concatenate the rows of all processes, in the order of their ranks.

    Every process must call it, even one that has no rows.

    Args:
        tensors (Tensor | None): Same number of rows in each, shape (N, ...). None stays
            None, and must be None in every process.

    Returns:
        tuple[list[Tensor | None], int]: The tensors with the rows of all processes,
        without gradient, and the index of this process's first row among them.
    """
    if get_world_size() == 1:
        return list(tensors), 0
    first = next(tensor for tensor in tensors if tensor is not None)
    mine = torch.tensor([len(first)], device=first.device)
    sizes = torch.cat(_all_gather(mine)).tolist()
    gathered: list[Tensor | None] = []
    for tensor in tensors:
        if tensor is None:
            gathered.append(None)
            continue
        # Collectives need the same shape from every process.
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = zip(_all_gather(padded), sizes)
        gathered.append(torch.cat([part[:size] for part, size in parts]))
    return gathered, sum(sizes[: dist.get_rank()])


def _all_gather(tensor: Tensor) -> list[Tensor]:
    # Gloo gathers on the CPU only.
    sent = tensor.cpu() if dist.get_backend() == 'gloo' else tensor
    parts = [torch.empty_like(sent) for _ in range(get_world_size())]
    dist.all_gather(parts, sent)
    return [part.to(tensor.device) for part in parts]


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let the first process of each node go ahead, such as to download a model.

    The others enter the ``with`` block once it has left, whatever the outcome. Every
    process must call it.
    """
    is_first = int(os.environ.get('LOCAL_RANK', 0)) == 0
    several = get_world_size() > 1
    if several and not is_first:
        dist.barrier()
    try:
        yield
    finally:
        if several and is_first:
            dist.barrier()
