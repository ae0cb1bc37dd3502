from __future__ import annotations

from fractions import Fraction
from math import floor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmkd_logit.models import BinaryKLLoss, BinaryKLNormLoss, KDLoss, LogitLoss
from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.tasks import SegmentationTask
from mmkd_logit.tasks.pixel_rows import PixelRows
from mmkd_logit.tasks.segmentation import stack_labels

EVERY_LOSS = (KDLoss, BinaryKLLoss, BinaryKLNormLoss)
SIZES = [((8, 8), (64, 64)), ((9, 13), (65, 97)), ((5, 7), (17, 33)), ((6, 6), (6, 6))]


class Sample(SimpleNamespace):
    """As much of mmseg's data sample as rows are made of."""

    def get(self, key: str, default: object = None) -> object:
        return getattr(self, key, default)


def samples(labels: Tensor) -> list[Sample]:
    return [
        Sample(gt_sem_seg=SimpleNamespace(data=each[None]), sample_idx=10 + i)
        for i, each in enumerate(labels)
    ]


def make_labels(size: tuple[int, int], classes: int = 4, images: int = 2) -> Tensor:
    labels = torch.randint(classes + 1, (images, *size))
    return labels.masked_fill(labels == classes, 255)


def make_task(resolution: str = 'student', **head: object) -> SegmentationTask:
    """The task of a segmentor of four classes."""
    student = nn.Module()
    student.decode_head = nn.Conv2d(8, 4, 1)
    settings = dict(num_classes=4, ignore_index=255, align_corners=False) | head
    for name, value in settings.items():
        setattr(student.decode_head, name, value)
    return SegmentationTask(student, resolution)


def rows_of(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    resolution: str = 'student',
    align_corners: bool = False,
) -> LogitRows | LogitStrips:
    task = make_task(resolution)
    task.align_corners = align_corners
    task.teacher_align_corners = [align_corners]
    return task.make_rows(student, teacher, None, samples(labels), labels, False)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(('small', 'large'), SIZES)
def test_rows_by_hand(
    small: tuple[int, int], large: tuple[int, int], align_corners: bool
) -> None:
    """Teacher at another stride, odd sizes: pixel by pixel in numpy."""
    student = torch.randn(2, 4, *small)
    teacher = torch.randn(2, 4, small[0] + 3, small[1] * 2)
    labels = make_labels(large)
    resized = interpolate(teacher, small, mode='bilinear', align_corners=align_corners)
    expected: list[tuple[np.ndarray, np.ndarray, int, int]] = []
    for n, y, x in np.ndindex(2, *small):
        if align_corners:
            source = [
                np.floor(i * (big - 1) / max(1, size - 1) + 0.5)
                for i, size, big in ((y, small[0], large[0]), (x, small[1], large[1]))
            ]
        else:
            source = [
                np.floor((i + 0.5) * big / size)
                for i, size, big in ((y, small[0], large[0]), (x, small[1], large[1]))
            ]
        label = labels[n, int(source[0]), int(source[1])].item()
        if label != 255:
            expected.append((student[n, :, y, x], resized[n, :, y, x], label, 10 + n))
    rows = rows_of(student, teacher, labels, align_corners=align_corners).whole
    assert torch.equal(rows.student, torch.stack([e[0] for e in expected]))
    torch.testing.assert_close(rows.teacher, torch.stack([e[1] for e in expected]))
    assert rows.labels.tolist() == [e[2] for e in expected]
    assert rows.image_index.tolist() == [e[3] for e in expected]
    assert rows.batch_index.tolist() == [e[3] - 10 for e in expected]


def test_nearest_is_the_pixel_at_the_centre() -> None:
    labels = torch.arange(8).expand(1, 8, 8).contiguous()
    assert PixelRows(labels, (1, 2), 255, False).labels.tolist() == [2, 6]
    assert PixelRows(labels, (2, 2), 255, True).labels.tolist() == [0, 7, 0, 7]
    ones = PixelRows(labels, (1, 1), 255, True)
    assert ones.labels.tolist() == [0]


@pytest.mark.parametrize('align_corners', [False, True])
def test_a_tie_between_two_pixels_goes_to_the_later_one(align_corners: bool) -> None:
    """Rounding of a ratio such as 50 / 97 must not decide it."""
    for old in range(1, 60):
        labels = torch.arange(old).expand(1, old, old).contiguous()
        for size in (1, 2, 7, 49, 97, 100):
            row = PixelRows(labels, (1, size), 255, align_corners).labels.tolist()
            exact = [
                Fraction(i * (old - 1), max(1, size - 1)) + Fraction(1, 2)
                if align_corners
                else Fraction((2 * i + 1) * old, 2 * size)
                for i in range(size)
            ]
            assert row == [floor(place) for place in exact], (old, size)


@pytest.mark.parametrize('corners', [(False, True), (True, False)])
def test_the_teacher_s_map_is_resized_as_its_own_head_does(
    corners: tuple[bool, bool],
) -> None:
    of_student, of_teacher = corners
    student, teacher = torch.randn(2, 4, 12, 16), torch.randn(2, 4, 6, 8)
    labels = torch.zeros(2, 96, 128, dtype=torch.long)
    task = make_task(align_corners=of_student)
    other = nn.Module()
    other.decode_head = nn.Module()
    other.decode_head.conv_seg = nn.Conv2d(8, 4, 1)
    other.decode_head.align_corners = of_teacher
    task.meet_teachers([other])
    rows = task.make_rows(student, teacher, None, samples(labels), labels, False)
    rows = rows.whole
    ours, wrong = (
        interpolate(teacher, (12, 16), mode='bilinear', align_corners=align)
        .permute(0, 2, 3, 1)
        .flatten(0, 2)
        for align in (of_teacher, of_student)
    )
    assert torch.equal(rows.teacher, ours)
    assert (ours.argmax(1) != wrong.argmax(1)).float().mean() > 0.02


def test_images_are_told_apart_by_index_or_path() -> None:
    task, labels = make_task(), torch.zeros(2, 4, 4, dtype=torch.long)
    logits = torch.randn(2, 4, 4, 4)
    batch = samples(labels)
    for sample, path in zip(batch, ('town/a.png', 'town/b.png')):
        del sample.sample_idx
        sample.img_path = path
    first = task.make_rows(logits, logits, None, batch, labels, False).image_index
    again = task.make_rows(logits, logits, None, batch[::-1], labels, False)
    assert first.unique().tolist() == sorted({first[0].item(), first[16].item()})
    assert first[0] != first[16] == again.image_index[0]
    del batch[0].img_path
    assert (
        task.make_rows(logits, logits, None, batch, labels, False).image_index is None
    )


def test_at_the_resolution_of_the_labels() -> None:
    student, teacher = torch.randn(2, 4, 5, 7), torch.randn(2, 4, 3, 4)
    labels = make_labels((20, 28))
    rows = rows_of(student, teacher, labels, 'label').whole
    valid = labels != 255
    for maps, got in ((student, rows.student), (teacher, rows.teacher)):
        full = interpolate(maps, (20, 28), mode='bilinear', align_corners=False)
        torch.testing.assert_close(got, full.permute(0, 2, 3, 1)[valid])
    assert torch.equal(rows.labels, labels[valid])


@pytest.mark.parametrize('resolution', ['student', 'label'])
@pytest.mark.parametrize('kind', EVERY_LOSS)
def test_losses_see_valid_pixels_and_nothing_else(
    kind: type[LogitLoss], resolution: str
) -> None:
    student = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    teacher = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    labels, loss = make_labels((6, 6)), kind()
    value = loss(rows_of(student, teacher, labels, resolution))

    # By hand, on the valid pixels alone.
    valid = labels != 255
    picked = [maps.permute(0, 2, 3, 1)[valid] for maps in (student, teacher)]
    by_hand = loss(LogitRows(student=picked[0], teacher=picked[1]))
    torch.testing.assert_close(value, by_hand, rtol=1e-6, atol=0)

    # Permuting pixels changes nothing.
    order = torch.randperm(36)
    shuffled = [
        m.flatten(-2)[..., order].unflatten(-1, (6, 6))
        for m in (student, teacher, labels)
    ]
    torch.testing.assert_close(loss(rows_of(*shuffled, resolution)), value)

    # Adding ignored pixels changes nothing, whatever the logits there are.
    pad = torch.full((2, 4, 6, 2), 1e4, dtype=torch.float64)
    wide = [torch.cat([student, pad], 3), torch.cat([teacher, -pad], 3)]
    void = torch.full((2, 6, 2), 255)
    padded = loss(rows_of(*wide, torch.cat([labels, void], 2), resolution))
    torch.testing.assert_close(padded, value)


@pytest.mark.parametrize('resolution', ['student', 'label'])
def test_gradient(resolution: str) -> None:
    teacher = torch.randn(1, 3, 3, 4, dtype=torch.float64)
    labels = make_labels((6, 8), classes=3, images=1)
    student = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)

    def loss(maps: Tensor) -> Tensor:
        return KDLoss()(rows_of(maps, teacher, labels, resolution))

    assert torch.autograd.gradcheck(loss, student)


@pytest.mark.parametrize('resolution', ['student', 'label'])
@pytest.mark.parametrize('kind', EVERY_LOSS)
def test_nothing_but_ignored_pixels(kind: type[LogitLoss], resolution: str) -> None:
    student = torch.randn(2, 4, 3, 3, requires_grad=True)
    labels = torch.full((2, 6, 6), 255)
    loss = kind()(rows_of(student, torch.randn(2, 4, 3, 3), labels, resolution))
    loss.backward()
    assert loss == 0
    assert torch.equal(student.grad, torch.zeros(2, 4, 3, 3))


def test_half_precision_maps_are_resized_in_single() -> None:
    teacher = torch.randn(1, 4, 3, 3)
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    student = torch.randn(1, 4, 6, 6)
    rows = rows_of(student, teacher.bfloat16(), labels).whole
    expected = rows_of(student, teacher.bfloat16().float(), labels).whole
    assert torch.equal(rows.teacher, expected.teacher)


def test_stack_labels() -> None:
    labels = make_labels((4, 6))
    assert torch.equal(stack_labels(samples(labels), (4, 6), 4, 255), labels)
    with pytest.raises(ValueError, match=r'size \(4, 6\), but its image has \(8, 6\)'):
        stack_labels(samples(labels), (8, 6), 4, 255)
    labels[1, 0, 0], labels[1, 0, 1] = 17, -1
    bad = samples(labels)
    bad[1].seg_map_path = 'b.png'
    with pytest.raises(
        ValueError, match=r'b.png holds \[-1, 17\].* from 0 to 3, or 25'
    ):
        stack_labels(bad, (4, 6), 4, 255)
