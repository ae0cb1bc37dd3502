"""From maps of logits to rows: which pixels count, and how they are taken out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


class _TakeRows(torch.autograd.Function):
    """Rows of a map by their distinct indices; the gradient is put back by a copy.

    Plain indexing adds gradients up, which is slow, and cannot know that no pixel is
    taken twice.
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
    """Takes the rows of the pixels that count out of maps.

    A map of another size is resized first, bilinearly; labels are taken at the
    nearest pixel.

    Args:
        labels (Tensor): Class indices of shape (N, H, W).
        size (tuple[int, int]): Height and width at which a pixel is a row.
        ignore_index (int): The label of pixels that do not count.
        align_corners (bool): Whether the centres of the corner pixels of two sizes
            lie on one another, or the corners themselves.
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
        flat = self._nearest(labels).flatten()
        self.index = (flat != ignore_index).nonzero().squeeze(1)
        self.labels = flat.index_select(0, self.index)
        self.image = self.index.div(size[0] * size[1], rounding_mode='floor')
        """Place in the batch of the image that each row comes from."""

    def _nearest(self, labels: Tensor) -> Tensor:
        for dim, size in zip((1, 2), self.size):
            old = labels.shape[dim]
            if old == size:
                continue
            # In integers: a tie between two pixels goes to the later one everywhere.
            at = torch.arange(size, device=labels.device)
            if self.align_corners:
                last = max(1, size - 1)
                at = (2 * at * (old - 1) + last).div(2 * last, rounding_mode='floor')
            else:
                at = ((2 * at + 1) * old).div(2 * size, rounding_mode='floor')
            labels = labels.index_select(dim, at)
        return labels

    def take(self, maps: Tensor, align_corners: bool | None = None) -> Tensor:
        """Rows of a map.

        Args:
            maps (Tensor): Logits of shape (N, C, h, w).
            align_corners (bool, optional): How this map is resized, if not as all
                others are. Defaults to None.

        Returns:
            Tensor: Shape (pixels that count, C).
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
