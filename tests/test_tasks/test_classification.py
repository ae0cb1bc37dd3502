from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mmkd_logit.tasks import (
    ClassificationTask,
    SegmentationTask,
    task_of,
    task_of_scope,
)


@pytest.fixture
def task() -> ClassificationTask:
    return ClassificationTask(nn.Linear(2, 5))


def test_one_row_an_image(task: ClassificationTask, batch: Callable[..., dict]) -> None:
    samples = batch(size=3)['data_samples']
    logits = torch.randn(3, 5)
    rows = task.make_rows(logits, logits + 1, None, samples, None, mixed=False)
    assert len(rows) == 3
    assert torch.equal(rows.teacher, logits + 1)
    assert rows.labels.tolist() == [0, 1, 2]
    assert rows.image_index.tolist() == [100, 101, 102]
    assert rows.batch_index.tolist() == [0, 1, 2]
    assert rows.aux is None


def test_mixed_images_have_no_labels(
    task: ClassificationTask, batch: Callable[..., dict]
) -> None:
    samples = batch(size=2)['data_samples']
    logits = torch.randn(2, 5)
    rows = task.make_rows(logits, logits, None, samples, None, mixed=True)
    assert rows.labels is None


def test_several_labels_an_image_are_no_labels(
    task: ClassificationTask, batch: Callable[..., dict]
) -> None:
    samples = batch(size=2)['data_samples']
    samples[0].set_gt_label([1, 2])
    logits = torch.randn(2, 5)
    rows = task.make_rows(logits, logits, None, samples, None, mixed=False)
    assert rows.labels is None


def test_predictions_from_bare_logits(
    task: ClassificationTask, batch: Callable[..., dict]
) -> None:
    samples = batch(size=2, num_classes=3)['data_samples']
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]])
    found = task.predictions(None, logits, samples)
    assert [each.pred_label.tolist() for each in found] == [[1], [0]]
    torch.testing.assert_close(found[0].pred_score, logits[0].softmax(0))
    assert found[0].gt_label.tolist() == [0]


def test_there_is_no_other_resolution() -> None:
    with pytest.raises(ValueError, match="must be 'student' for a Linear, but got 'l"):
        ClassificationTask(nn.Linear(2, 5), resolution='label')


def test_task_of_a_model_and_of_a_scope() -> None:
    segmentor = nn.Module()
    segmentor.decode_head = nn.Conv2d(2, 3, 1)
    assert task_of(segmentor) is SegmentationTask
    assert task_of(nn.Linear(2, 3)) is ClassificationTask
    assert task_of_scope('mmseg') is SegmentationTask
    assert task_of_scope('mmpretrain') is ClassificationTask
    assert task_of_scope('mmdet') is task_of_scope(None) is None


def test_loader_defaults() -> None:
    defaults = ClassificationTask.loader_defaults
    assert defaults(dict(num_workers=2), pin_memory=True) == dict(
        pin_memory=True,
        persistent_workers=True,
        collate_fn=dict(type='default_collate'),
    )
    assert not defaults({}, pin_memory=False)['persistent_workers']
    assert SegmentationTask.loader_defaults({}, pin_memory=True) == {}
