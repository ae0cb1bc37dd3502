from __future__ import annotations

import pytest
import torch

from mmkd_logit.structures import LogitRows


def test_some_rows_keep_every_part() -> None:
    logits, numbers = torch.randn(4, 5), torch.arange(4)
    rows = LogitRows(
        student=logits,
        teacher=2 * logits,
        aux=3 * logits,
        labels=numbers,
        image_index=numbers + 1,
        batch_index=numbers + 2,
        top=torch.randint(5, (4, 2)),
        members=(4 * logits, None),
    )
    index = torch.tensor([3, 1])
    for part, whole in zip(vars(rows.take(index)).values(), vars(rows).values()):
        if isinstance(whole, tuple):
            assert part[1] is None and torch.equal(part[0], whole[0][index])
        else:
            assert torch.equal(part, whole[index])


def test_clear_errors() -> None:
    logits = torch.zeros(4, 5)
    with pytest.raises(ValueError, match=r'teacher has the shape \(4, 6\).* \(4, 5\)'):
        LogitRows(student=logits, teacher=torch.zeros(4, 6))
    with pytest.raises(ValueError, match=r'aux has the shape \(3, 5\)'):
        LogitRows(student=logits, teacher=logits, aux=torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r'labels has the shape \(3,\).* 4 rows'):
        LogitRows(student=logits, teacher=logits, labels=torch.zeros(3))
    with pytest.raises(ValueError, match=r'batch_index has the shape \(5,\).* 4 rows'):
        LogitRows(student=logits, teacher=logits, batch_index=torch.zeros(5))
    with pytest.raises(ValueError, match=r'\(rows, classes\), but gave \(4, 5, 2, 2\)'):
        LogitRows(student=torch.zeros(4, 5, 2, 2), teacher=torch.zeros(4, 5, 2, 2))
