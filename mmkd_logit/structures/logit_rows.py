"""Logits of one training step, flattened to rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmkd_logit.structures.pixel_rows import PixelRows


@dataclass(frozen=True)
class LogitRows:
    """The logits of one step. A row is one prediction.

    Attributes:
        student (Tensor): Logits of the student's own head, shape (N, C).
        teacher (Tensor): Logits of the teacher, shape (N, C), without gradient.
        aux (Tensor, optional): Logits of the auxiliary head, shape (N, C).
        labels (Tensor, optional): Class indices, shape (N,). None where there is
            not one hard label a row, as under mixup and CutMix.
        soft_targets (Tensor, optional): Class probabilities, shape (N, C), where the
            data has them.
        image_index (Tensor, optional): Index in the dataset of the image that each
            row comes from, shape (N,).

    Raises:
        ValueError: If the parts do not have the same rows and classes.
    """

    student: Tensor
    teacher: Tensor
    aux: Tensor | None = None
    labels: Tensor | None = None
    soft_targets: Tensor | None = None
    image_index: Tensor | None = None

    def __post_init__(self) -> None:
        if self.student.ndim != 2:
            raise ValueError(
                'The last layer of the student must give logits of shape (rows, '
                f'classes), but gave {tuple(self.student.shape)}.'
            )
        for name in ('teacher', 'aux', 'soft_targets'):
            value = getattr(self, name)
            if value is not None and value.shape != self.student.shape:
                raise ValueError(
                    f'{name} has the shape {tuple(value.shape)}, but the student has '
                    f'{tuple(self.student.shape)} (rows, classes). Both must predict '
                    'the same classes for the same images.'
                )
        for name in ('labels', 'image_index'):
            value = getattr(self, name)
            if value is not None and value.shape != self.student.shape[:1]:
                raise ValueError(
                    f'{name} has the shape {tuple(value.shape)}, but there are '
                    f'{len(self.student)} rows.'
                )

    def __len__(self) -> int:
        return len(self.student)

    @classmethod
    def from_images(
        cls,
        student: Tensor,
        teacher: Tensor,
        aux: Tensor | None,
        data_samples: Sequence[Any],
        mixed: bool = False,
    ) -> LogitRows:
        """One row an image.

        Args:
            student (Tensor): Logits of shape (N, C).
            teacher (Tensor): Logits of shape (N, C).
            aux (Tensor, optional): Logits of shape (N, C).
            data_samples (Sequence[DataSample]): mmpretrain's, one for each image.
            mixed (bool): Whether images of the batch were blended (mixup, CutMix),
                so that the label that an image came with is no longer its label.
                Defaults to False.

        Returns:
            LogitRows: N rows.
        """

        scores = _gather(data_samples, 'gt_score')
        labels = None if mixed else _gather(data_samples, 'gt_label')
        if labels is not None and any(label.numel() != 1 for label in labels):
            labels = None
        return cls(
            student=student,
            teacher=teacher,
            aux=aux,
            labels=None if labels is None else torch.cat(labels).to(student.device),
            soft_targets=None if scores is None else torch.stack(scores),
            image_index=_image_index(data_samples, student.device),
        )

    @classmethod
    def from_maps(
        cls,
        student: Tensor,
        teacher: Tensor,
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Tensor,
        ignore_index: int,
        align_corners: bool,
        at: str = 'student',
    ) -> LogitRows:
        """One row a pixel that is not ignored.

        The teacher's map is resized to the student's, or both to the label map's,
        bilinearly; labels are taken at the nearest pixel.

        Args:
            student (Tensor): Logits of shape (N, C, h, w).
            teacher (Tensor): Logits of shape (N, C, h', w').
            aux (Tensor, optional): Logits of shape (N, C, h, w).
            data_samples (Sequence[SegDataSample]): mmseg's, one for each image.
            labels (Tensor): Class indices of shape (N, H, W).
            ignore_index (int): The label of pixels that do not count.
            align_corners (bool): As in the student's head.
            at (str): The resolution of the rows: 'student', that of the student's
                logits, or 'label', that of the label map. Defaults to 'student'.

        Returns:
            LogitRows: A row for each pixel that counts.
        """
        height, width = (student if at == 'student' else labels).shape[-2:]
        pixels = PixelRows(labels, (height, width), ignore_index, align_corners)
        image_index = _image_index(data_samples, student.device)
        return cls(
            student=pixels.take(student),
            teacher=pixels.take(teacher),
            aux=None if aux is None else pixels.take(aux),
            labels=pixels.labels,
            image_index=None if image_index is None else image_index[pixels.image],
        )


def _gather(data_samples: Sequence[Any], key: str) -> list[Any] | None:
    """What all samples of a batch hold under a key; None if one lacks it."""
    values = [sample.get(key) for sample in data_samples]
    return None if not values or any(v is None for v in values) else values


def _image_index(data_samples: Sequence[Any], device: torch.device) -> Tensor | None:
    indices = _gather(data_samples, 'sample_idx')
    if indices is None:
        return None
    # A blocking copy would wait for the forward passes on the GPU.
    return torch.tensor(indices).to(device, non_blocking=True)
