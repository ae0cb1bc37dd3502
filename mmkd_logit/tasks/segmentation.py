"""mmseg's segmentors: a row is a pixel that is not ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks.pixel_rows import PixelRows
from mmkd_logit.tasks.task import Task, collect, to_device


class SegmentationTask(Task):
    """A label map, a feature map and a map of logits an image."""

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
        self.teacher_align_corners = self.align_corners

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """Segmentors have a decode head."""
        return hasattr(model, 'decode_head')

    @classmethod
    def find_logit_layer(cls, model: nn.Module) -> str:
        """The ``conv_seg`` of the decode head; of a cascade, of its last stage.

        Raises:
            ValueError: Also if a decode head classifies masks or has one channel for
                two classes.
        """
        if not cls.fits(model):
            raise ValueError(f'{type(model).__name__} has no decode_head.')
        path, head = _last_head(model)
        if getattr(head, 'out_channels', None) == 1:
            raise ValueError(
                f'{type(head).__name__} has one channel for two classes. Distillation '
                'of logits needs a logit for each class: set out_channels=2 and '
                'use_sigmoid=False in decode_head.'
            )
        if not isinstance(getattr(head, 'conv_seg', None), nn.Conv2d):
            raise ValueError(
                f'{type(head).__name__} has no last layer that gives a logit for each '
                'class and pixel (conv_seg): it classifies masks or sampled points. '
                'Such a student cannot be distilled per pixel. If it has such a layer '
                'under another name, name it with logit_layer.'
            )
        return f'{path}.conv_seg'

    def meet_teacher(self, name: str, teacher: nn.Module, classes: int) -> None:
        """Check its classes; its maps are resized as its own head resizes them."""
        super().meet_teacher(name, teacher, classes)
        if self.fits(teacher):
            head = _last_head(teacher)[1]
            corners = getattr(head, 'align_corners', self.align_corners)
            self.teacher_align_corners = corners

    def meet_stored(
        self, name: str, theirs: int, traits: Mapping[str, Any], classes: int
    ) -> None:
        """Check its classes; its maps are resized as its own head resized them."""
        super().meet_stored(name, theirs, traits, classes)
        self.teacher_align_corners = traits['align_corners']

    def traits(self) -> dict[str, Any]:
        """How the teacher's maps are resized."""
        return {'align_corners': self.teacher_align_corners}

    def read_labels(self, inputs: Tensor, data_samples: Sequence[Any]) -> Tensor:
        """The label maps, shape (N, H, W).

        Raises:
            ValueError: If a map has another size than its image, or a label is
                neither a class nor ``ignore_index``.
        """
        size = (inputs.shape[-2], inputs.shape[-1])
        return stack_labels(data_samples, size, self.num_classes, self.ignore_index)

    def make_rows(
        self,
        student: Tensor,
        teacher: Tensor,
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Any,
        mixed: bool,
    ) -> LogitRows:
        """One row a pixel that counts, at the chosen resolution.

        The teacher's map is resized to the student's, or both to the label map's,
        bilinearly; labels are taken at the nearest pixel.
        """
        height, width = (student if self.resolution == 'student' else labels).shape[-2:]
        pixels = PixelRows(
            labels, (height, width), self.ignore_index, self.align_corners
        )
        images = to_device(_image_numbers(data_samples), student.device)
        return LogitRows(
            student=pixels.take(student),
            teacher=pixels.take(teacher, self.teacher_align_corners),
            aux=None if aux is None else pixels.take(aux),
            labels=pixels.labels,
            image_index=None if images is None else images[pixels.image],
            batch_index=pixels.image,
        )

    def predictions(
        self,
        student: Any,
        logits: Tensor,
        inputs: Tensor,
        data_samples: Sequence[Any],
    ) -> list[Any]:
        """Label maps at the size of the original image."""
        size = (inputs.shape[-2], inputs.shape[-1])
        corners = self.teacher_align_corners
        logits = interpolate(logits, size, mode='bilinear', align_corners=corners)
        return student.postprocess_result(logits, data_samples)


def _last_head(model: nn.Module) -> tuple[str, Any]:
    """Name and module of the decode head; of a cascade, of its last stage."""
    path, head = 'decode_head', model.decode_head
    if isinstance(head, nn.ModuleList):
        path, head = f'{path}.{len(head) - 1}', head[len(head) - 1]
    return path, head


def _image_numbers(data_samples: Sequence[Any]) -> list[int] | None:
    """A number for each image: its index in the data set, or made from its path."""
    indices = collect(data_samples, 'sample_idx')
    if indices is not None:
        return indices
    # mmseg's pipelines pack the path, but not the index.
    paths = collect(data_samples, 'img_path')
    return None if paths is None else [crc32(str(path).encode()) for path in paths]


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
