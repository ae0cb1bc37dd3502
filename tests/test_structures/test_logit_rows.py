from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmkd_logit.structures import LogitRows


def test_from_images(batch: Callable[..., dict]) -> None:
    samples = batch(size=3)['data_samples']
    logits = torch.randn(3, 5)
    rows = LogitRows.from_images(logits, logits + 1, None, samples)
    assert len(rows) == 3
    assert rows.labels.tolist() == [0, 1, 2]
    assert rows.image_index.tolist() == [100, 101, 102]
    assert rows.soft_targets is None and rows.aux is None


def test_mixed_images_have_soft_targets_only(batch: Callable[..., dict]) -> None:
    samples = batch(size=2)['data_samples']
    for sample in samples:
        sample.set_gt_score(torch.full((5,), 0.2))
    logits = torch.randn(2, 5)
    rows = LogitRows.from_images(logits, logits, None, samples, mixed=True)
    assert rows.labels is None
    torch.testing.assert_close(rows.soft_targets, torch.full((2, 5), 0.2))


def test_several_labels_an_image_are_no_labels(batch: Callable[..., dict]) -> None:
    samples = batch(size=2)['data_samples']
    samples[0].set_gt_label([1, 2])
    logits = torch.randn(2, 5)
    assert LogitRows.from_images(logits, logits, None, samples).labels is None


def test_clear_errors() -> None:
    logits = torch.zeros(4, 5)
    with pytest.raises(ValueError, match=r'teacher has the shape \(4, 6\).* \(4, 5\)'):
        LogitRows(student=logits, teacher=torch.zeros(4, 6))
    with pytest.raises(ValueError, match=r'aux has the shape \(3, 5\)'):
        LogitRows(student=logits, teacher=logits, aux=torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r'labels has the shape \(3,\).* 4 rows'):
        LogitRows(student=logits, teacher=logits, labels=torch.zeros(3))
    with pytest.raises(ValueError, match=r'\(rows, classes\), but gave \(4, 5, 2, 2\)'):
        LogitRows(student=torch.zeros(4, 5, 2, 2), teacher=torch.zeros(4, 5, 2, 2))
