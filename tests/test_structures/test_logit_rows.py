from __future__ import annotations

import pytest
import torch

from mmkd_logit.structures import LogitRows


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
