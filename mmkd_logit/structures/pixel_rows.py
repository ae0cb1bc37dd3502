"""From maps of logits to rows: which pixels count, and how they are taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


class _TakeRows(torch.autograd.Function):
    """Rows of a map by their distinct indices; the gradient is put back by a copy.

    Plain indexing adds gradients up, which is slow, and can not know that no pixel
    is taken twice.
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
            at = torch.arange(size, device=labels.device, dtype=torch.float64)
            if self.align_corners:
                at = (at * ((old - 1) / max(1, size - 1))).round()
            else:
                at = ((at + 0.5) * (old / size)).floor()
            labels = labels.index_select(dim, at.long().clamp(max=old - 1))
        return labels

    def take(self, maps: Tensor) -> Tensor:
        """Rows of a map.

        Args:
            maps (Tensor): Logits of shape (N, C, h, w).

        Returns:
            Tensor: Shape (pixels that count, C).
        """
        if maps.shape[2:] != self.size:
            if maps.dtype in (torch.float16, torch.bfloat16):
                maps = maps.float()
            maps = interpolate(
                maps, self.size, mode='bilinear', align_corners=self.align_corners
            )
        return _TakeRows.apply(maps, self.index)


def stack_labels(
    data_samples: Sequence[Any], size: tuple[int, int], num_classes: int, ignore: int
) -> Tensor:
    """The label maps of a batch, checked.

    Args:
        data_samples (Sequence[SegDataSample]): mmseg's, one for each image.
        size (tuple[int, int]): Height and width of the images.
        num_classes (int): Number of classes.
        ignore (int): The label of pixels that do not count.

    Returns:
        Tensor: Shape (N, H, W).

    Raises:
        ValueError: If a map has another size than its image, or a label is neither a
            class nor ``ignore``.
    """
    maps = [sample.gt_sem_seg.data.squeeze(0) for sample in data_samples]
    for sample, labels in zip(data_samples, maps):
        if labels.shape != size:
            raise ValueError(
                f'The label map of {sample.get("seg_map_path", "an image")} has the '
                f'size {tuple(labels.shape)}, but its image {tuple(size)} after the '
                'pipeline. Transform both alike, and check the files.'
            )
    labels = torch.stack(maps)
    bad = (labels != ignore) & ((labels < 0) | (labels >= num_classes))
    if bad.any():
        where = bad.flatten(1).any(1).tolist().index(True)
        raise ValueError(
            f'The label map of {data_samples[where].get("seg_map_path", "an image")} '
            f'holds {sorted(set(labels[bad].tolist()))[:5]}, but labels must be '
            f'from 0 to {num_classes - 1}, or {ignore} to be ignored. Check '
            'num_classes, reduce_zero_label and ignore_index.'
        )
    return labels
