"""Rows of logit maps: which pixels count, and how they are extracted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmkd_logit.functional._checks import compute_dtype
from mmkd_logit.functional._closed_form import chunk_size
from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.structures.logit_rows import PullBack, pick_head
from mmkd_logit.tasks.bilinear import ResizedMap, Strip


class _TakeRows(torch.autograd.Function):
    """Selects rows of a map by distinct indices; the backward pass is a copy.

    The gradient of plain indexing accumulates, which is slow: it cannot know that no
    pixel is taken twice.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = maps.shape
        return maps.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        n, c, h, w = ctx.shape
        flat = grad.new_zeros(n * h * w, c).index_copy_(0, index, grad)
        return flat.view(n, h, w, c).permute(0, 3, 1, 2), None


class PixelRows:
    """Extracts from maps the rows of the pixels that count.

    A map of another size is first resized bilinearly; labels are taken at the nearest
    pixel.

    Args:
        labels (Tensor): Class indices of shape (N, H, W).
        size (tuple[int, int]): Height and width at which a pixel is a row.
        ignore_index (int): The label of pixels that do not count.
        align_corners (bool): Whether the centres of the corner pixels of two sizes
            coincide, rather than the corners of the maps.
    """

    def __init__(
        self,
        labels: Tensor,
        size: tuple[int, int],
        ignore_index: int,
        align_corners: bool,
    ) -> None:
        self.size = size
        self.align_corners = align_corners
        self._labels = self._nearest(labels).flatten()
        self.index = (self._labels != ignore_index).nonzero().squeeze(1)

    @property
    def labels(self) -> Tensor:
        """Classes of all pixels that count."""
        return self.labels_of(self.index)

    def labels_of(self, index: Tensor) -> Tensor:
        """Return the classes of pixels, given their indices."""
        return self._labels.index_select(0, index)

    def images_of(self, index: Tensor) -> Tensor:
        """Return the batch index of each pixel's image, given the pixel indices."""
        return index.div(self.size[0] * self.size[1], rounding_mode='floor')

    def _nearest(self, labels: Tensor) -> Tensor:
        for dim, size in zip((1, 2), self.size):
            old = labels.shape[dim]
            if old == size:
                continue
            # In integers, so that a tie always goes to the later of two pixels.
            at = torch.arange(size, device=labels.device)
            if self.align_corners:
                last = max(1, size - 1)
                at = (2 * at * (old - 1) + last).div(2 * last, rounding_mode='floor')
            else:
                at = ((2 * at + 1) * old).div(2 * size, rounding_mode='floor')
            labels = labels.index_select(dim, at)
        return labels

    def take(self, maps: Tensor, align_corners: bool | None = None) -> Tensor:
        """Return the rows of a map.

        Args:
            maps (Tensor): Logits of shape (N, C, h, w).
            align_corners (bool, optional): How this map is resized, if unlike the
                others. Defaults to None.

        Returns:
            Tensor: Shape (number of pixels that count, C).
        """
        if maps.shape[2:] != self.size:
            if maps.dtype in (torch.float16, torch.bfloat16):
                maps = maps.float()
            if align_corners is None:
                align_corners = self.align_corners
            maps = interpolate(
                maps, self.size, mode='bilinear', align_corners=align_corners
            )
        return _TakeRows.apply(maps, self.index)


class PixelStrips(LogitStrips):
    """Rows of maps that must be resized, read without resizing a whole map.

    Args:
        pixels (PixelRows): Which pixels count, and at which size.
        student (Tensor): Logits of the student, shape (N, C, h, w).
        teacher (Tensor): Logits of the teacher, shape (N, C, h', w').
        aux (Tensor, optional): Logits of the auxiliary head, shape (N, C, h, w).
        images (Tensor, optional): A number for each image, shape (N,).
        teacher_align_corners (bool): How the teacher's map is resized.
    """

    def __init__(
        self,
        pixels: PixelRows,
        student: Tensor,
        teacher: Tensor,
        aux: Tensor | None,
        images: Tensor | None,
        teacher_align_corners: bool,
    ) -> None:
        self._pixels = pixels
        self._student = student
        self._teacher = teacher
        self._aux = aux
        self._images = images
        self._teacher_align_corners = teacher_align_corners

    def __len__(self) -> int:
        return len(self._pixels.index)

    @property
    def classes(self) -> int:
        return self._teacher.shape[1]

    @cached_property
    def whole(self) -> LogitRows:
        take = self._pixels.take
        return self._rows(
            self._pixels.index,
            take(self._student),
            take(self._teacher, self._teacher_align_corners),
            None if self._aux is None else take(self._aux),
        )

    @property
    def labels(self) -> Tensor:
        return self._pixels.labels

    def source(self, head: str) -> Tensor:
        return pick_head(head, self._student, self._aux)

    def take(self, index: Tensor) -> LogitRows:
        index = self._pixels.index.index_select(0, index)
        student, teacher, aux = self._resized()
        return self._rows(
            index,
            student.take(index),
            teacher.take(index),
            None if aux is None else aux.take(index),
        )

    @torch.no_grad()
    def strips(self) -> Iterator[tuple[LogitRows, PullBack]]:
        student, teacher, aux = self._resized()
        height, width = self._pixels.size
        lines = len(self._teacher) * height
        step = max(1, chunk_size(self._teacher) // (width * self._teacher.shape[1]))
        starts = range(0, lines, step)
        ends = torch.tensor([*starts, lines], device=self._teacher.device) * width
        bounds = torch.searchsorted(self._pixels.index, ends).tolist()
        for start, low, high in zip(starts, bounds, bounds[1:]):
            if low == high:
                continue
            index = self._pixels.index[low:high]
            strip = Strip(start, min(start + step, lines), index, width)
            rows = self._rows(
                index,
                student.read(strip),
                teacher.read(strip),
                None if aux is None else aux.read(strip),
            )
            yield rows, partial(_pull_back, {'main': student, 'aux': aux}, strip)

    def new_grad(self, head: str) -> Tensor:
        maps = self.source(head)
        n, c, h, w = maps.shape
        zeros = maps.new_zeros(n, h, w, c, dtype=compute_dtype(maps))
        return zeros.permute(0, 3, 1, 2)

    def _resized(self) -> tuple[ResizedMap, ResizedMap, ResizedMap | None]:
        size, corners = self._pixels.size, self._pixels.align_corners
        return (
            ResizedMap(self._student, size, corners),
            ResizedMap(self._teacher, size, self._teacher_align_corners),
            None if self._aux is None else ResizedMap(self._aux, size, corners),
        )

    def _rows(
        self, index: Tensor, student: Tensor, teacher: Tensor, aux: Tensor | None
    ) -> LogitRows:
        place = self._pixels.images_of(index)
        images = self._images
        if images is not None:
            images = images.index_select(0, place)
        labels = self._pixels.labels_of(index)
        return LogitRows(student, teacher, aux, labels, images, place)


def _pull_back(
    maps: Mapping[str, ResizedMap | None],
    strip: Strip,
    head: str,
    grad: Tensor,
    into: Tensor,
) -> None:
    """Add the gradient of the rows of a strip to that of a head's map."""
    resized = maps[head]
    assert resized is not None
    resized.pull_back(strip, grad, into.permute(0, 2, 3, 1).flatten(0, 1))
