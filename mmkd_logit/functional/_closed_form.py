"""Losses with a closed-form gradient, computed in chunks to save memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_pair, compute_dtype

# Elements processed at a time: few enough for all intermediates to stay in a CPU's
# cache, and enough to keep a GPU busy.
_CPU_CHUNK = 2**18
_GPU_CHUNK = 2**22

ChunkFn = Callable[..., tuple[Tensor, Tensor]]
SumFn = Callable[[bool], tuple[Tensor, Tensor | None]]


def chunk_size(logits: Tensor) -> int:
    """Return how many elements to process at a time on the logits' device."""
    return _CPU_CHUNK if logits.device.type == 'cpu' else _GPU_CHUNK


def chunk_rows(logits: Tensor, smaller: int = 1) -> Iterator[slice]:
    """Return slices of rows to process at a time, ``smaller`` times smaller."""
    rows, classes = logits.shape
    step = max(1, chunk_size(logits) // smaller // max(1, classes))
    return (slice(start, start + step) for start in range(0, rows, step))


def softplus(x: Tensor) -> Tensor:
    """Compute ``log(1 + exp(x))`` without overflow, exact on both sides of 0."""
    return x.abs().neg_().exp_().log1p_().add_(x.clamp(min=0))


def refuse_second_derivative() -> None:
    """Raise ``RuntimeError`` if the backward pass is itself being recorded."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            'The losses of mmkd_logit have no second derivative, but the gradient was '
            'requested with create_graph=True.'
        )


class _ClosedForm(torch.autograd.Function):
    """A scalar whose gradient is in closed form, not recorded."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, scale: float, dtype: torch.dtype, sum_fn: SumFn
    ) -> Tensor:
        # Autocast would run matrix products in lower precision.
        with torch.autocast(student.device.type, enabled=False):
            total, grad = sum_fn(ctx.needs_input_grad[0])
        # Applied in the backward pass, after the loss scale of mixed precision.
        ctx.scale = scale
        ctx.student_dtype = student.dtype
        ctx.save_for_backward(*(() if grad is None else (grad,)))
        return (total * scale).clamp(max=torch.finfo(dtype).max).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        (grad,) = ctx.saved_tensors
        grad_student = (grad * (grad_output * ctx.scale)).to(ctx.student_dtype)
        return grad_student, None, None, None


def loss_of_sum(
    student: Tensor, dtype: torch.dtype, sum_fn: SumFn, scale: float
) -> Tensor:
    """Return a scalar loss that computes its own gradient and keeps nothing else.

    Args:
        student (Tensor): Student logits of shape (N, C).
        dtype (torch.dtype): Type of the loss, float32 or float64.
        sum_fn (Callable): Takes a flag, whether the gradient is needed. Returns a sum
            in float64, and its gradient with respect to the student's logits in
            ``dtype``, or None if it is not needed.
        scale (float): Factor for value and gradient.

    Returns:
        Tensor: A scalar in ``dtype``.
    """
    return _ClosedForm.apply(student, scale, dtype, sum_fn)


def closed_form_loss(
    student: Tensor,
    teacher: Tensor,
    chunk_fn: ChunkFn,
    tau: float = 1.0,
    scale: float = 1.0,
    columns: Sequence[Tensor] = (),
    smaller: int = 1,
) -> Tensor:
    """Return the mean over rows of a loss that computes its own gradient.

    One pass computes value and gradient chunk by chunk, so only one (N, C) buffer is
    kept for the backward pass. If a chunk has a logit that is not finite, its value and
    gradient are NaN, which a gradient scaler detects.

    Args:
        student (Tensor): Student logits of shape (N, C).
        teacher (Tensor): Teacher logits of shape (N, C). Gets no gradient.
        chunk_fn (Callable): Takes some rows of both, divided by ``tau`` and clamped so
            that differences are finite, as copies in float32 or wider that it may
            overwrite, and the same rows of each of ``columns``. Returns the sum of
            their losses, and the gradient of that sum with respect to the student's
            logits before the division.
        tau (float): Temperature. Defaults to 1.0.
        scale (float): Factor for value and gradient. Defaults to 1.0.
        columns (Sequence[Tensor]): Further values per row, each of shape (N, 1).
            Defaults to ().
        smaller (int): How many times smaller to make the chunks, for a ``chunk_fn``
            with many intermediates. Defaults to 1.

    Returns:
        Tensor: A scalar in float32, or in float64 if an input is. It is 0 and keeps
        the graph if there are no rows.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C).
    """
    check_pair(student, teacher)
    teacher = teacher.detach()
    dtype = compute_dtype(student, teacher)

    def sum_fn(wants_grad: bool) -> tuple[Tensor, Tensor | None]:
        grad = torch.empty_like(student, dtype=dtype) if wants_grad else None
        total = torch.zeros((), dtype=torch.float64, device=student.device)
        for part in chunk_rows(student, smaller):
            s = student[part].to(dtype, copy=True)
            t = teacher[part].to(dtype, copy=True)
            one = temper_(s, tau) * temper_(t, tau)
            value, slope = chunk_fn(s, t, *(column[part] for column in columns))
            total += value * one
            if grad is not None:
                torch.mul(slope, one, out=grad[part])
        return total, grad

    return loss_of_sum(student, dtype, sum_fn, scale / max(1, len(student)))


def scaled(logits: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """Multiply logits, keeping them bounded as in :func:`closed_form_loss`."""
    product = torch.mul(logits, factor, out=out)
    return product if factor <= 1 else product.clamp_(-bound(logits), bound(logits))


def bound(logits: Tensor) -> float:
    """Return the largest magnitude at which differences of logits are finite."""
    return torch.finfo(logits.dtype).max / 4


def temper_(logits: Tensor, tau: float) -> Tensor:
    """Divide by the temperature in place, keeping finite logits finite.

    Returns:
        Tensor: A scalar 1, or NaN if a logit is not finite.
    """
    if logits.numel() == 0:
        return logits.new_ones(())
    low, high = logits.aminmax()
    if tau != 1:
        logits.div_(tau)
    # The bound leaves room for a difference of two; only absurd logits reach it. A
    # check would synchronize with a GPU, so there all logits are clamped.
    limit = bound(logits)
    if logits.device.type != 'cpu' or max(-low, high) >= limit * min(tau, 1.0):
        logits.clamp_(-limit, limit)
    return low.mul_(0).add_(high.mul_(0)).add_(1)
