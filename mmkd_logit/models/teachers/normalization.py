"""Turns what the student's data preprocessor gives into what the teacher expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Renormalize:
    """``x * scale + shift`` per channel, after an optional flip of the channels.

    Blends of images (mixup, CutMix) commute with it.

    Attributes:
        scale (Tensor): Shape (channels, 1, 1).
        shift (Tensor): Shape (channels, 1, 1).
        flip (bool): Whether the order of the channels is reversed first.
    """

    scale: Tensor
    shift: Tensor
    flip: bool

    def __call__(self, inputs: Tensor) -> Tensor:
        """Images (N, channels, H, W) as the teacher expects them."""
        inputs = inputs.flip(1) if self.flip else inputs
        # Kept where the images are: a copy in every step would make a GPU wait.
        self.scale, self.shift = self.scale.to(inputs), self.shift.to(inputs)
        return torch.addcmul(self.shift, inputs, self.scale)

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> Renormalize | None:
        """What leads from one data preprocessor to the other; None if they agree.

        Args:
            student (nn.Module): Data preprocessor of the student.
            teacher (nn.Module): Data preprocessor of the teacher.
        """
        flip = _flips_channels(student) != _flips_channels(teacher)
        mean_s, std_s = _mean_std(student)
        mean_t, std_t = _mean_std(teacher)
        if flip:
            mean_s, std_s = mean_s.flip(0), std_s.flip(0)
        scale, shift = torch.broadcast_tensors(std_s / std_t, (mean_s - mean_t) / std_t)
        if not flip and bool((scale == 1).all()) and bool((shift == 0).all()):
            return None
        return cls(scale, shift, flip)


def describe_preprocessor(preprocessor: nn.Module) -> dict[str, Any]:
    """What a data preprocessor makes of images, as plain values.

    Args:
        preprocessor (nn.Module): That of a student.

    Returns:
        dict[str, Any]: Mean, std, order of the channels and padding.
    """
    mean, std = _mean_std(preprocessor)
    padding = ('size', 'size_divisor', 'pad_size_divisor', 'pad_val', 'pad_value')
    shown = {name: getattr(preprocessor, name, None) for name in padding}
    return {
        'mean': mean.flatten().tolist(),
        'std': std.flatten().tolist(),
        'flips_channels': _flips_channels(preprocessor),
        **{k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()},
    }


def _mean_std(preprocessor: nn.Module) -> tuple[Tensor, Tensor]:
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    return mean.float().cpu(), std.float().cpu()


def _flips_channels(preprocessor: nn.Module) -> bool:
    # mmpretrain keeps it as to_rgb, mmengine and mmseg as _channel_conversion.
    names = ('to_rgb', '_channel_conversion')
    return any(getattr(preprocessor, name, False) for name in names)
