"""Bilinear resizing of parts of a map, with the result of ``interpolate``."""

from __future__ import annotations

import torch
from torch import Tensor


class Taps:
    """The two pixels of a line on either side of each pixel of the resized line.

    Args:
        old (int): Pixels on the line.
        new (int): Pixels on the resized line.
        align_corners (bool): As in ``interpolate``.

    Attributes:
        low (Tensor): Index of the pixel before, shape (new,).
        high (Tensor): Index of the pixel after, shape (new,).
        weight (Tensor): Weight of the pixel after, shape (new,), float64.
    """

    def __init__(self, old: int, new: int, align_corners: bool) -> None:
        at = torch.arange(new, dtype=torch.float64)
        if align_corners:
            at = at * (old - 1) / max(1, new - 1)
        else:
            at = ((at + 0.5) * old / new - 0.5).clamp(min=0)
        self.low = at.long().clamp(max=old - 1)
        self.high = (self.low + 1).clamp(max=old - 1)
        self.weight = at - self.low


class Strip:
    """Pixels of consecutive lines, numbered across all images.

    Args:
        start (int): The first line.
        stop (int): The line after the last.
        index (Tensor): Indices of the pixels among all pixels, shape (n,).
        width (int): Pixels on a line.
    """

    def __init__(self, start: int, stop: int, index: Tensor, width: int) -> None:
        self.start = start
        self.stop = stop
        self.index = index - start * width
        self.line = self.index.div(width, rounding_mode='floor')
        self.column = self.index - self.line * width


class ResizedMap:
    """Logit maps whose parts can be read at another size.

    Args:
        maps (Tensor): Shape (N, C, h, w).
        size (tuple[int, int]): Height H and width W at which they are read. Lines are
            numbered across all images, from 0 to N H.
        align_corners (bool): As in ``interpolate``.
    """

    def __init__(
        self, maps: Tensor, size: tuple[int, int], align_corners: bool
    ) -> None:
        images, classes, height, width = maps.shape
        if maps.dtype in (torch.float16, torch.bfloat16):
            maps = maps.float()
        self.lines = maps.permute(0, 2, 3, 1).reshape(images * height, width, classes)
        self._width = size[1]
        down = Taps(height, size[0], align_corners)
        first = torch.arange(images)[:, None] * height
        self._ends = (first + down.low).flatten(), (first + down.high).flatten()
        weight = down.weight.to(maps.dtype).repeat(images)[:, None, None]
        across = Taps(width, size[1], align_corners)
        device = maps.device
        self._down = [_send(each, device) for each in (*self._ends, weight)]
        weight = across.weight.to(maps.dtype)[:, None]
        self._across = [
            _send(each, device) for each in (across.low, across.high, weight)
        ]

    def take(self, index: Tensor) -> Tensor:
        """Return selected pixels.

        Args:
            index (Tensor): Their indices, shape (n,), counted along the lines.

        Returns:
            Tensor: Shape (n, C).
        """
        line = index.div(self._width, rounding_mode='floor')
        column = index - line * self._width
        low, high, weight = (each[line] for each in self._down)
        flat, width = self.lines.flatten(0, 1), self.lines.shape[1]
        top = self._between(flat, low * width, column)
        bottom = self._between(flat, high * width, column)
        return torch.lerp(top, bottom, weight.squeeze(2))

    def read(self, strip: Strip) -> Tensor:
        """Return the pixels of a strip.

        Args:
            strip (Strip): n pixels.

        Returns:
            Tensor: Shape (n, C).
        """
        low, high, weight = (each[strip.start : strip.stop] for each in self._down)
        lines = torch.lerp(self.lines[low], self.lines[high], weight)
        first = strip.line * lines.shape[1]
        return self._between(lines.flatten(0, 1), first, strip.column)

    def _between(self, flat: Tensor, line: Tensor, column: Tensor) -> Tensor:
        low, high, weight = self._across
        before = flat.index_select(0, line + low[column])
        after = flat.index_select(0, line + high[column])
        return torch.lerp(before, after, weight[column])

    def pull_back(self, strip: Strip, grad: Tensor, into: Tensor) -> None:
        """Add the gradient of pixels to that of the map: the adjoint of :meth:`read`.

        Args:
            strip (Strip): n pixels.
            grad (Tensor): Their gradient, shape (n, C).
            into (Tensor): Gradient of ``lines``, same shape; updated in place.
        """
        start, stop = strip.start, strip.stop
        count, width, classes = stop - start, *self.lines.shape[1:]
        if len(grad) < count * self._width:
            whole = grad.new_zeros(count * self._width, classes)
            grad = whole.index_copy_(0, strip.index, grad)
        grad = grad.view(count, self._width, classes)
        # A strip covers few lines of the map: reduce vertically first.
        first = int(self._ends[0][start])
        last = int(self._ends[1][stop - 1]) + 1
        low, high, weight = (each[start:stop] for each in self._down)
        after = grad * weight
        lines = grad.new_zeros(last - first, self._width, classes)
        lines.index_add_(0, high - first, after)
        lines.index_add_(0, low - first, grad - after)
        low, high, weight = self._across
        place = torch.arange(last - first, device=grad.device)[:, None] * width
        after = lines * weight
        flat = into[first:last].flatten(0, 1)
        flat.index_add_(0, (place + high).flatten(), after.flatten(0, 1))
        flat.index_add_(0, (place + low).flatten(), (lines - after).flatten(0, 1))


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    # A blocking copy would wait for the forward passes on the GPU.
    return tensor.to(device, non_blocking=True)
