"""Segmentors of mmseg: one row per pixel that is not ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import torch
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.tasks.pixel_rows import PixelRows, PixelStrips
from mmkd_logit.tasks.task import Task, collect, rows_of_teachers, to_device

# The label of the pixels of unlabelled images; no label map may contain it.
UNKNOWN = torch.iinfo(torch.int32).min


class SegmentationTask(Task):
    """One label map, one feature map and one logit map per image."""

    scope = 'mmseg'
    metric = 'mIoU'
    feature_ndim = 4
    blind_constructors = (
        'LearningRateDecayOptimizerConstructor',
        'LayerDecayOptimizerConstructor',
    )
    resolutions = ('student', 'label')

    def __init__(self, student: nn.Module, resolution: str = 'student') -> None:
        super().__init__(student, resolution)
        _, head = _last_head(student)
        self.num_classes: int = head.num_classes
        self.ignore_index: int = head.ignore_index
        self.align_corners: bool = head.align_corners
        self.teacher_align_corners = [self.align_corners]

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """Return whether a model has a decode head, as segmentors do."""
        return hasattr(model, 'decode_head')

    @classmethod
    def find_logit_layer(cls, model: nn.Module) -> str:
        """Return the ``conv_seg`` of the decode head, in a cascade of its last stage.

        Raises:
            ValueError: Also if a decode head classifies masks or has one channel for
                two classes.
        """
        if not cls.fits(model):
            raise ValueError(f'{type(model).__name__} has no decode_head.')
        path, head = _last_head(model)
        if getattr(head, 'out_channels', None) == 1:
            raise ValueError(
                f'{type(head).__name__} has one channel for two classes. Logit '
                'distillation needs a logit for each class: set out_channels=2 and '
                'use_sigmoid=False in decode_head.'
            )
        if not isinstance(getattr(head, 'conv_seg', None), nn.Conv2d):
            raise ValueError(
                f'{type(head).__name__} has no last layer that outputs a logit for '
                'each class and pixel (conv_seg): it classifies masks or sampled '
                'points. Such a student cannot be distilled per pixel. If it has such '
                'a layer under another name, set logit_layer.'
            )
        return f'{path}.conv_seg'

    def meet_teachers(self, teachers: Sequence[nn.Module]) -> None:
        """Remember how the teachers' own heads resize their maps."""
        self.teacher_align_corners = [self._corners_of(each) for each in teachers]

    def _corners_of(self, teacher: nn.Module) -> bool:
        head = _last_head(teacher)[1] if self.fits(teacher) else teacher
        return getattr(head, 'align_corners', self.align_corners)

    def meet_stored(self, traits: Mapping[str, Any]) -> None:
        """Remember how the teacher's own head resized its maps."""
        if 'align_corners' not in traits:
            raise ValueError('The stored logits are those of a classifier, not maps.')
        self.teacher_align_corners = [traits['align_corners']]

    def traits(self) -> dict[str, Any]:
        """Return how the teacher's maps are resized."""
        (corners,) = self.teacher_align_corners
        return {'align_corners': corners}

    def read_labels(self, inputs: Tensor, data_samples: Sequence[Any]) -> Tensor:
        """Return the label maps, shape (N, H, W), ``UNKNOWN`` where there is none.

        Raises:
            ValueError: If the size of a map differs from its image's, or a label is
                neither a class nor ``ignore_index``.
        """
        size = (inputs.shape[-2], inputs.shape[-1])
        return stack_labels(
            data_samples, size, self.num_classes, self.ignore_index, inputs.device
        )

    def run_student(
        self, student: Any, inputs: Tensor, data_samples: Sequence[Any], labels: Any
    ) -> dict[str, Any]:
        """Run the student; its losses ignore all pixels of unlabelled images."""
        known = [_has_labels(sample) for sample in data_samples]
        if not any(known):
            student(inputs, data_samples, mode='tensor')
            return {}
        if not all(known):
            # Ignore unknown pixels.
            maps = labels.masked_fill(labels == UNKNOWN, self.ignore_index)
            data_samples = [
                sample if has else _with_labels(sample, each)
                for sample, has, each in zip(data_samples, known, maps)
            ]
        return student.loss(inputs, data_samples)

    def make_rows(
        self,
        student: Tensor,
        teacher: Tensor | Sequence[Tensor | None],
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Any,
        mixed: bool,
    ) -> LogitRows | LogitStrips:
        """Make one row per pixel that counts, at the chosen resolution.

        The teacher's map is resized to the student's size, or both to the label map's,
        bilinearly and in strips; labels are taken at the nearest pixel.
        """
        height, width = (student if self.resolution == 'student' else labels).shape[-2:]
        size = (height, width)
        pixels = PixelRows(labels, size, self.ignore_index, self.align_corners)
        images = to_device(_image_numbers(data_samples), student.device)
        labelled = all(map(_has_labels, data_samples))
        # Several teachers are averaged once the rows of all exist.
        if (
            isinstance(teacher, Tensor)
            and labelled
            and {student.shape[-2:], teacher.shape[-2:]} != {size}
        ):
            corners = self.teacher_align_corners[0]
            return PixelStrips(pixels, student, teacher, aux, images, corners)
        place = pixels.images_of(pixels.index)
        return LogitRows(
            student=pixels.take(student),
            **rows_of_teachers(
                teacher,
                lambda maps, place: pixels.take(
                    maps, self.teacher_align_corners[place]
                ),
            ),
            aux=None if aux is None else pixels.take(aux),
            labels=pixels.labels if labelled else None,
            image_index=None if images is None else images[place],
            batch_index=place,
        )

    def at_image_size(
        self, teachers: Sequence[Tensor | None], inputs: Tensor
    ) -> list[Tensor | None]:
        """Resize the maps bilinearly to the size of the images."""
        size = (inputs.shape[-2], inputs.shape[-1])
        return [
            maps
            if maps is None or maps.shape[2:] == size
            else interpolate(maps, size, mode='bilinear', align_corners=corners)
            for maps, corners in zip(teachers, self.teacher_align_corners)
        ]

    def predictions(
        self,
        student: Any,
        logits: Tensor,
        data_samples: Sequence[Any],
    ) -> list[Any]:
        """Return data samples with label maps at the original image size."""
        return student.postprocess_result(logits, data_samples)


def _last_head(model: nn.Module) -> tuple[str, Any]:
    """Return the name and module of the decode head, in a cascade of its last stage."""
    path, head = 'decode_head', model.decode_head
    if isinstance(head, nn.ModuleList):
        path, head = f'{path}.{len(head) - 1}', head[len(head) - 1]
    return path, head


def _image_numbers(data_samples: Sequence[Any]) -> list[int] | None:
    """Return a number per image: its index in the dataset, or a hash of its path."""
    indices = collect(data_samples, 'sample_idx')
    if indices is not None:
        return indices
    # mmseg's pipelines pack the path, but not the index.
    paths = collect(data_samples, 'img_path')
    return None if paths is None else [crc32(str(path).encode()) for path in paths]


def _has_labels(sample: Any) -> bool:
    return sample.get('gt_sem_seg') is not None


def _unknown(
    sample: Any, size: tuple[int, int], ignore: int, device: torch.device | None
) -> Tensor:
    """Return a map of ``UNKNOWN`` pixels, with the padding of the image ignored."""
    labels = torch.full(size, ignore, device=device)
    left, right, top, bottom = sample.get('padding_size') or (0, 0, 0, 0)
    labels[top : size[0] - bottom, left : size[1] - right] = UNKNOWN
    return labels


def _with_labels(sample: Any, labels: Tensor) -> Any:
    """Return a copy of a data sample with a label map."""
    copied = sample.new()
    copied.gt_sem_seg = PixelData(data=labels[None])
    return copied


def stack_labels(
    data_samples: Sequence[Any],
    size: tuple[int, int],
    num_classes: int,
    ignore: int,
    device: torch.device | None = None,
) -> Tensor:
    """Stack the label maps of a batch, and check them.

    Args:
        data_samples (Sequence[SegDataSample]): Those of mmseg, one per image.
        size (tuple[int, int]): Height and width of the images.
        num_classes (int): Number of classes.
        ignore (int): The label of pixels that do not count.
        device (torch.device, optional): Device of the labels of unlabelled images.
            Defaults to None, the CPU.

    Returns:
        Tensor: Shape (N, H, W). An image without a label map has ``UNKNOWN``, and
        ``ignore`` where it was padded.

    Raises:
        ValueError: If the size of a map differs from its image's, or a label is neither
            a class nor ``ignore``.
    """
    maps = [
        sample.gt_sem_seg.data.squeeze(0)
        if _has_labels(sample)
        else _unknown(sample, size, ignore, device)
        for sample in data_samples
    ]
    for sample, labels in zip(data_samples, maps):
        if labels.shape != size:
            raise ValueError(
                f'The label map of {sample.get("seg_map_path", "an image")} has the '
                f'size {tuple(labels.shape)}, but its image has {tuple(size)} after '
                'the pipeline. Transform both alike, and check the files.'
            )
    labels = torch.stack(maps)
    bad = (labels != ignore) & ((labels < 0) | (labels >= num_classes))
    bad &= labels != UNKNOWN
    if bad.any():
        where = bad.flatten(1).any(1).tolist().index(True)
        raise ValueError(
            f'The label map of {data_samples[where].get("seg_map_path", "an image")} '
            f'holds {sorted(set(labels[bad].tolist()))[:5]}, but labels must be '
            f'from 0 to {num_classes - 1}, or {ignore} to be ignored. Check '
            'num_classes, reduce_zero_label and ignore_index.'
        )
    return labels
