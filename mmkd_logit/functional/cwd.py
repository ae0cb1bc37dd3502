"""Channel-wise distillation (CWD) of logits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_pair, check_positive, compute_dtype
from mmkd_logit.functional._closed_form import chunk_size, loss_of_sum, temper_


def cwd_loss(
    student: Tensor, teacher: Tensor, image: Tensor, tau: float = 4.0
) -> Tensor:
    r"""Compute the KL divergence of each class's softmax over the pixels of an image.

    .. math::
        L = \frac{\tau^2}{B C} \sum_{b, c} \mathrm{KL}\left(
            \mathrm{softmax}_{n \in b}(t_{nc} / \tau) \,\|\,
            \mathrm{softmax}_{n \in b}(s_{nc} / \tau) \right)

    The softmax of class c is over the rows n of image b. For an image with one row it
    is 1, and the divergence is 0.

    Source: https://arxiv.org/abs/2011.13256

    Args:
        student (Tensor): Logits of shape (N, C), one pixel per row.
        teacher (Tensor): Logits of shape (N, C). Gets no gradient.
        image (Tensor): Index of each row's image, integers of shape (N,).
        tau (float): Temperature, above 0. Defaults to 4.0.

    Returns:
        Tensor: A scalar, the mean over the B images that have rows, in float32 or
        wider. It is 0 and keeps the graph if there are no rows.

    Raises:
        TypeError: If logits are not floating point tensors, or ``image`` not integers.
        ValueError: If the shapes do not match, or ``tau`` is not a finite
            number above 0.

    Example:
        >>> import torch
        >>> from mmkd_logit.functional import cwd_loss
        >>> student = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> teacher = torch.tensor([[4.0, 0.0], [0.0, 3.0], [2.0, 2.0]])
        >>> print(f'{cwd_loss(student, teacher, torch.tensor([0, 0, 1])):.4f}')
        0.2200
    """
    check_positive('tau', tau)
    check_pair(student, teacher)
    if image.is_floating_point() or image.dtype == torch.bool:
        raise TypeError(f'image must hold integers, but got {image.dtype}.')
    if image.shape != student.shape[:1]:
        raise ValueError(
            f'image must have the shape ({len(student)},), one image per row, but '
            f'got {tuple(image.shape)}.'
        )
    if (image[1:] < image[:-1]).any():
        order = image.argsort(stable=True)
        return cwd_loss(student[order], teacher[order], image[order], tau)
    teacher = teacher.detach()
    dtype = compute_dtype(student, teacher)
    sizes = image.unique_consecutive(return_counts=True)[1].tolist()

    def sum_fn(wants_grad: bool) -> tuple[Tensor, Tensor | None]:
        grad = torch.empty_like(student, dtype=dtype) if wants_grad else None
        total = torch.zeros((), dtype=torch.float64, device=student.device)
        for images, parts in _parts(sizes, student):
            of_student = _LogSoftmax(student, images, parts, dtype, tau)
            of_teacher = _LogSoftmax(teacher, images, parts, dtype, tau)
            one = of_student.one * of_teacher.one
            for part in parts:
                log_q, log_p = of_student.rows(part), of_teacher.rows(part)
                p = log_p.exp()
                total += log_p.sub_(log_q).mul_(p).sum() * one
                if grad is not None:
                    torch.mul(log_q.exp_().sub_(p), one / tau, out=grad[part])
        return total, grad

    scale = tau**2 / max(1, len(sizes) * student.shape[1])
    return loss_of_sum(student, dtype, sum_fn, scale)


def _parts(sizes: list[int], logits: Tensor) -> Iterator[tuple[int, list[slice]]]:
    """Yield how many images to process together, and their rows in parts.

    This is one image in several parts, or several images of one size in one part.
    """
    step = max(1, chunk_size(logits) // max(1, logits.shape[1]))
    start = 0
    for size, alike in groupby(sizes):
        left = len(list(alike))
        while left:
            images = min(left, max(1, step // size))
            stop = start + images * size
            parts = [slice(at, min(at + step, stop)) for at in range(start, stop, step)]
            yield images, parts
            start, left = stop, left - images


class _LogSoftmax:
    """Log-softmax of each class over the rows of an image, computed in parts.

    Args:
        logits (Tensor): Logits of all images, shape (N, C).
        images (int): Number of images, all of one size; several must be one part.
        parts (list[slice]): Their rows.
        dtype (torch.dtype): Float32 or wider.
        tau (float): Temperature.
    """

    def __init__(
        self,
        logits: Tensor,
        images: int,
        parts: list[slice],
        dtype: torch.dtype,
        tau: float,
    ) -> None:
        self.logits, self.dtype, self.tau = logits, dtype, tau
        self.one = torch.ones((), dtype=dtype, device=logits.device)
        """1, or NaN if a logit is not finite."""
        self._whole: Tensor | None = None
        if len(parts) == 1:
            maps = self._tempered(parts[0]).unflatten(0, (images, -1))
            self._whole = maps.log_softmax(1).flatten(0, 1)
            return
        top = logits.new_full(logits.shape[1:], -torch.inf, dtype=dtype)
        total = torch.zeros_like(top, dtype=torch.float64)
        for part in parts:
            z = self._tempered(part)
            higher = torch.maximum(top, z.amax(0))
            total *= (top - higher).exp()
            total += z.sub_(higher).exp_().sum(0)
            top = higher
        self._norm = top + total.log().to(dtype)

    def _tempered(self, part: slice) -> Tensor:
        copied = self.logits[part].to(self.dtype, copy=True)
        self.one = self.one * temper_(copied, self.tau)
        return copied

    def rows(self, part: slice) -> Tensor:
        """Return the log-softmax of a part; call once, as it may be overwritten."""
        if self._whole is not None:
            return self._whole
        return self._tempered(part).sub_(self._norm)
