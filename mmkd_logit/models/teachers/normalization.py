"""Conversion from the student's normalization of images to the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Statistics: TypeAlias = tuple[Tensor | Sequence[float], Tensor | Sequence[float]]


@dataclass
class Renormalize:
    """Computes ``x * scale + shift`` per channel, optionally after flipping channels.

    It commutes with the blending of images (mixup, CutMix).

    Attributes:
        scale (Tensor): Shape (channels, 1, 1).
        shift (Tensor): Shape (channels, 1, 1).
        flip (bool): Whether the order of the channels is reversed first.
    """

    scale: Tensor
    shift: Tensor
    flip: bool

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return images (N, channels, H, W) as the teacher expects them."""
        inputs = inputs.flip(1) if self.flip else inputs
        # Kept on the images' device: a copy in every step would make a GPU wait.
        self.scale, self.shift = self.scale.to(inputs), self.shift.to(inputs)
        return torch.addcmul(self.shift, inputs, self.scale)

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> Renormalize | None:
        """Build the conversion between two data preprocessors; None if they agree.

        Args:
            student (nn.Module): Data preprocessor of the student.
            teacher (nn.Module): Data preprocessor of the teacher.
        """
        flip = flips_channels(student) != flips_channels(teacher)
        return cls.between_values(mean_std(student), mean_std(teacher), flip)

    @classmethod
    def between_values(
        cls, student: Statistics, teacher: Statistics, flip: bool
    ) -> Renormalize | None:
        """Build the conversion between two sets of means and standard deviations.

        Args:
            student (tuple): Mean and standard deviation of each channel, in the
                student's order of channels.
            teacher (tuple): The same for the teacher.
            flip (bool): Whether the two orders are the reverse of each other.
        """
        mean_s, std_s = map(_per_channel, student)
        mean_t, std_t = map(_per_channel, teacher)
        if flip:
            mean_s, std_s = mean_s.flip(0), std_s.flip(0)
        scale, shift = torch.broadcast_tensors(std_s / std_t, (mean_s - mean_t) / std_t)
        if not flip and bool((scale == 1).all()) and bool((shift == 0).all()):
            return None
        return cls(scale, shift, flip)


def describe_preprocessor(preprocessor: nn.Module) -> dict[str, Any]:
    """Describe a data preprocessor by plain values.

    Args:
        preprocessor (nn.Module): That of a student.

    Returns:
        dict[str, Any]: Mean, std, channel order and padding.
    """
    mean, std = mean_std(preprocessor)
    padding = ('size', 'size_divisor', 'pad_size_divisor', 'pad_val', 'pad_value')
    shown = {name: getattr(preprocessor, name, None) for name in padding}
    return {
        'mean': mean.flatten().tolist(),
        'std': std.flatten().tolist(),
        'flips_channels': flips_channels(preprocessor),
        **{k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()},
    }


def _per_channel(values: Tensor | Sequence[float]) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1)


def mean_std(preprocessor: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation that a data preprocessor uses."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    return mean.float().cpu(), std.float().cpu()


def flips_channels(preprocessor: nn.Module) -> bool:
    """Return whether a data preprocessor reverses the order of the channels."""
    # mmpretrain keeps it as to_rgb, mmengine and mmseg as _channel_conversion.
    names = ('to_rgb', '_channel_conversion')
    return any(getattr(preprocessor, name, False) for name in names)
