"""Conversion from the student's images to those that a teacher expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.models.settings import check_keys
from mmkd_logit.models.teachers.normalization import (
    Renormalize,
    flips_channels,
    mean_std,
)

Size = tuple[int, int]

_ORDERS = ('rgb', 'bgr')
_MODES = ('nearest', 'bilinear', 'bicubic')


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing that a model of another library expects.

    Attributes:
        mean (tuple[float, ...]): Of each channel, for pixels from 0 to 255.
        std (tuple[float, ...]): Of each channel, for pixels from 0 to 255.
        channels (str): Order of the channels: 'rgb' or 'bgr'.
        interpolation (str): How images are resized: 'nearest', 'bilinear' or
            'bicubic'.
        told_by (str): Where these values come from, for the log.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str = 'rgb'
    interpolation: str = 'bilinear'
    told_by: str = 'teacher.preprocess'


def check_preprocess(
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str | None = None,
    interpolation: str | None = None,
    student_channels: str | None = None,
) -> dict[str, Any]:
    """Check the settings of ``teacher.preprocess``.

    Args:
        mean (Sequence[float], optional): For pixels from 0 to 255.
        std (Sequence[float], optional): For pixels from 0 to 255.
        channels (str, optional): Order in which the teacher expects the channels.
        interpolation (str, optional): 'nearest', 'bilinear' or 'bicubic'.
        student_channels (str, optional): Order in which the student gets them.

    Returns:
        dict: The settings that are given.

    Raises:
        ValueError: If one is out of range.
    """
    if (mean is None) != (std is None):
        raise ValueError(
            'teacher.preprocess needs mean and std together, but got '
            f'mean={mean!r}, std={std!r}.'
        )
    found: dict[str, Any] = {}
    if mean is not None and std is not None:
        found = {'mean': tuple(map(float, mean)), 'std': tuple(map(float, std))}
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ValueError(
                'mean and std of teacher.preprocess must have a number for each '
                'channel of the images, or one for all, and std be positive, but got '
                f'mean={mean!r}, std={std!r}.'
            )
        if max(std) < 1:
            raise ValueError(
                'mean and std of teacher.preprocess are for pixels from 0 to 255, but '
                f'got std={std!r}, which is for pixels from 0 to 1. Multiply both by '
                '255.'
            )
    for name, value, choices in (
        ('channels', channels, _ORDERS),
        ('student_channels', student_channels, _ORDERS),
        ('interpolation', interpolation, _MODES),
    ):
        if value is not None and value not in choices:
            raise ValueError(
                f'teacher.preprocess.{name} must be '
                f'{" or ".join(map(repr, choices))}, but got {value!r}.'
            )
        if value is not None:
            found[name] = value
    return found


def read_preprocess(settings: Any) -> dict[str, Any] | None:
    """Read ``teacher.preprocess``.

    Args:
        settings (dict | str | None): Settings of :func:`check_preprocess`; 'student':
            the teacher gets the student's images unchanged; None: nothing is set.

    Returns:
        dict | None: The settings, or None for 'student'.

    Raises:
        TypeError: If there is an unknown key.
        ValueError: If a setting is out of range.
    """
    if settings == 'student':
        return None
    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(
            "teacher.preprocess must be a dict of mean, std and channels, or 'student' "
            f'to take images as the student gets them, but got {settings!r}.'
        )
    check_keys(check_preprocess, settings or {}, 'teacher.preprocess')
    return check_preprocess(**(settings or {}))


def read_resize(resize: Any) -> Size | str | None:
    """Read ``teacher.resize``.

    Args:
        resize (str | int | Sequence[int] | None): 'auto', a size, or None.

    Returns:
        tuple[int, int] | str | None: Height and width, 'auto' or None.

    Raises:
        ValueError: If it is anything else.
    """
    if resize is None or resize == 'auto':
        return resize
    size = (resize, resize) if isinstance(resize, int) else resize
    fits = isinstance(size, list | tuple) and len(size) == 2
    if not fits or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(
            "teacher.resize must be 'auto', an integer, (height, width) or None, but "
            f'got {resize!r}.'
        )
    return size[0], size[1]


@dataclass
class Resize:
    """Resizes images without leaving the range of pixel values.

    Attributes:
        size (tuple[int, int]): Height and width.
        mode (str): 'nearest', 'bilinear' or 'bicubic'.
        range (Tensor, optional): Black and white, normalized; shape (2, channels, 1,
            1).
    """

    size: Size
    mode: str
    range: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (N, channels, H, W) at the size."""
        if tuple(images.shape[-2:]) == self.size:
            return images
        wide = images if images.dtype == torch.float64 else images.float()
        # Antialiased when shrinking, as in Pillow and the libraries that follow it.
        smooth = {} if self.mode == 'nearest' else {'antialias': True}
        resized = nn.functional.interpolate(wide, self.size, mode=self.mode, **smooth)
        if self.mode == 'bicubic' and self.range is not None:
            # Bicubic overshoots at edges.
            lowest, highest = self.range = self.range.to(wide)
            resized = resized.clamp(lowest, highest)
        return resized.to(images.dtype)


@dataclass
class Images:
    """Converts the student's images to those that the teacher expects.

    Attributes:
        renormalize (Renormalize, optional): Conversion of normalization and channels.
        resize (Resize, optional): Conversion of the size.
        only (tuple[int, int], optional): The only size that the teacher takes.
        padding (float): What the teacher pads normalized images with.
    """

    renormalize: Renormalize | None = None
    resize: Resize | None = None
    only: Size | None = None
    padding: float = 0.0

    def __call__(
        self, images: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor:
        """Return images (N, channels, H, W) as the teacher expects them.

        Args:
            images (Tensor): As the student gets them.
            data_samples (Sequence, optional): The toolbox's data samples, which say
                what is padding.

        Raises:
            ValueError: If they have a size that it does not take.
        """
        if self.renormalize is not None:
            images = self.renormalize(images)
            self._pad(images, data_samples)
        if self.resize is not None:
            images = self.resize(images)
        elif self.only is not None and tuple(images.shape[-2:]) != self.only:
            raise ValueError(
                f'The teacher takes images of {_text(self.only)}, but got '
                f"{_text(images.shape[-2:])}. Set teacher.resize='auto' to have them "
                'resized.'
            )
        return images

    def _pad(self, images: Tensor, data_samples: Sequence[Any] | None) -> None:
        """Renew the padding at the right and bottom, which is not normalized."""
        for image, sample in zip(images, data_samples or ()):
            # What mmseg's data preprocessor notes in training, and in testing.
            sizes = sample.get('padding_size') or sample.get('img_padding_size')
            _, right, _, bottom = sizes or (0, 0, 0, 0)
            if right:
                image[..., -right:] = self.padding
            if bottom:
                image[..., -bottom:, :] = self.padding


def images_for(
    wanted: Preprocessing,
    student: nn.Module,
    student_channels: str | None,
    resize: Size | str | None,
    only: Size | None,
    who: str,
) -> tuple[Images, str]:
    """Build the conversion from the student's images for a model of another library.

    Args:
        wanted (Preprocessing): What the model expects.
        student (nn.Module): Data preprocessor of the student.
        student_channels (str, optional): Order in which the student gets the channels,
            if it is set.
        resize (tuple[int, int] | str | None): As :func:`read_resize` returns it.
        only (tuple[int, int], optional): The only size that the model takes.
        who (str): The teacher's name, for messages.

    Returns:
        tuple[Images, str]: The conversion, and a description of it for the log.

    Raises:
        ValueError: If the two normalize different numbers of channels.
    """
    statistics = mean_std(student)
    theirs, ours = len(wanted.mean), statistics[0].numel()
    if ours != theirs and 1 not in (ours, theirs):
        raise ValueError(
            f'{who} normalizes {theirs} channels, according to {wanted.told_by}, but '
            f"the student's data_preprocessor normalizes {ours}. Set "
            'teacher.preprocess=dict(mean=[...], std=[...]), with a number for each '
            'channel, for pixels from 0 to 255.'
        )
    given, why = student_channels, 'as set'
    if given is None:
        given, why = _channels_of(student)
    has_colours = max(ours, theirs) in (1, 3)
    flip = has_colours and given != wanted.channels
    renormalize = Renormalize.between_values(
        statistics, (wanted.mean, wanted.std), flip
    )
    images = Images(renormalize, only=only)
    size = only if resize == 'auto' else resize
    if isinstance(size, tuple):
        mean = torch.tensor(wanted.mean).view(-1, 1, 1)
        std = torch.tensor(wanted.std).view(-1, 1, 1)
        images.resize = Resize(
            size, wanted.interpolation, torch.stack([-mean, 255 - mean]) / std
        )
    size_said = (
        f'resized to {_text(images.resize.size)}, {wanted.interpolation}'
        if images.resize is not None
        else 'of the size that the student gets'
    )
    order = wanted.channels.upper() if has_colours else f'{theirs} channels'
    return images, (
        f'its images are {order}, minus '
        f'({", ".join(f"{each:.5g}" for each in wanted.mean)}), over '
        f'({", ".join(f"{each:.5g}" for each in wanted.std)}), {size_said}, according '
        f'to {wanted.told_by}'
        + (f". The student's are {given.upper()} ({why})" if has_colours else '')
    )


def with_settings(
    told: Preprocessing | None, settings: Mapping[str, Any], who: str
) -> Preprocessing:
    """Override the preprocessing of a source by the explicit settings.

    Args:
        told (Preprocessing, optional): What the source specifies.
        settings (dict): Those of ``teacher.preprocess``.
        who (str): The teacher's name, for messages.

    Raises:
        ValueError: If neither specifies mean and std.
    """
    own = {k: v for k, v in settings.items() if k != 'student_channels'}
    if told is None and 'mean' not in own:
        raise ValueError(
            f'{who} does not say how its images are normalized. Set '
            'teacher.preprocess=dict(mean=[...], std=[...]), for pixels from 0 to 255, '
            "or teacher.preprocess='student' if it takes images as the student does."
        )
    if told is None:
        return Preprocessing(**own)
    if own:
        own['told_by'] = f'teacher.preprocess ({", ".join(own)}), else {told.told_by}'
    return replace(told, **own)


def _channels_of(student: nn.Module) -> tuple[str, str]:
    """Return the student's order of channels, and how it is known."""
    if flips_channels(student):
        return 'rgb', 'its data_preprocessor converts them'
    # In photographs, red is the brightest channel on average, and blue the darkest.
    mean = mean_std(student)[0].flatten().tolist()
    if len(mean) == 3 and mean[0] > mean[2]:
        return 'rgb', 'by its mean'
    if len(mean) == 3 and mean[0] < mean[2]:
        return 'bgr', 'by its mean'
    return 'bgr', 'as OpenMMLab reads files; if not, set preprocess.student_channels'


def _text(size: Sequence[int]) -> str:
    return f'{size[0]} x {size[1]} pixels (height x width)'
