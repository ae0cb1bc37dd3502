from __future__ import annotations

import pytest
import torch

from mmkd_logit.functional import kendall_tau_loss, standardize
from mmkd_logit.models import KendallTauLoss
from mmkd_logit.registry import MODELS
from mmkd_logit.structures import LogitRows


@pytest.fixture
def rows() -> LogitRows:
    return LogitRows(
        student=torch.randn(4, 6, requires_grad=True),
        teacher=torch.randn(4, 6),
        aux=torch.randn(4, 6, requires_grad=True),
    )


def test_weights_the_function_of_the_chosen_head(rows: LogitRows) -> None:
    loss = KendallTauLoss(k=3.0, loss_weight=0.25)(rows)
    expected = 0.25 * kendall_tau_loss(rows.student, rows.teacher, 3.0)
    torch.testing.assert_close(loss, expected)
    loss = MODELS.build(dict(type='mmkd_logit.KendallTauLoss', head='aux'))
    assert loss.k == 100.0
    expected = kendall_tau_loss(rows.aux, rows.teacher, 100.0)
    torch.testing.assert_close(loss(rows), expected)


def test_standardize(rows: LogitRows) -> None:
    z = (standardize(x) for x in (rows.student, rows.teacher))
    loss = KendallTauLoss(k=2.0, standardize=True)(rows)
    torch.testing.assert_close(loss, kendall_tau_loss(*z, 2.0))


def test_no_rows() -> None:
    logits = torch.zeros(0, 6, requires_grad=True)
    loss = KendallTauLoss()(LogitRows(student=logits, teacher=logits.detach()))
    loss.backward()
    assert loss == 0 and logits.grad is not None


def test_clear_errors(rows: LogitRows) -> None:
    for k in (0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='k must be a finite number above 0'):
            KendallTauLoss(k=k)
    with pytest.raises(ValueError, match='loss_weight must be finite'):
        KendallTauLoss(loss_weight=float('nan'))
    broken = LogitRows(student=rows.student, teacher=rows.teacher / 0)
    with pytest.raises(ValueError, match='of the teacher are not finite'):
        KendallTauLoss()(broken)
