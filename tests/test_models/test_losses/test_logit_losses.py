from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkd_logit import functional
from mmkd_logit.models.losses import (
    BinaryKLLoss,
    BinaryKLNormLoss,
    KDLoss,
    LogitLoss,
)
from mmkd_logit.registry import MODELS
from mmkd_logit.structures import LogitRows

LOSSES = {
    KDLoss: functional.kd_loss,
    BinaryKLLoss: functional.binary_kl_loss,
    BinaryKLNormLoss: functional.binary_kl_norm_loss,
}
every_loss = pytest.mark.parametrize('kind', LOSSES)


@pytest.fixture
def rows() -> LogitRows:
    return LogitRows(
        student=torch.randn(4, 6, requires_grad=True),
        teacher=torch.randn(4, 6),
        aux=torch.randn(4, 6, requires_grad=True),
    )


@every_loss
def test_weights_the_function_of_the_chosen_head(
    kind: type[LogitLoss], rows: LogitRows
) -> None:
    function = LOSSES[kind]
    loss = kind(tau=3.0, loss_weight=0.25)
    expected = 0.25 * function(rows.student, rows.teacher, 3.0)
    torch.testing.assert_close(loss(rows), expected)
    loss = MODELS.build(dict(type=f'mmkd_logit.{kind.__name__}', head='aux'))
    torch.testing.assert_close(loss(rows), function(rows.aux, rows.teacher, loss.tau))


def test_defaults_are_those_of_the_papers() -> None:
    assert KDLoss().tau == 4.0
    assert BinaryKLLoss().tau == BinaryKLNormLoss().tau == 2.0


@every_loss
def test_standardize(kind: type[LogitLoss], rows: LogitRows) -> None:
    z = functional.standardize
    expected = LOSSES[kind](z(rows.student), z(rows.teacher), 2.0)
    torch.testing.assert_close(kind(tau=2.0, standardize=True)(rows), expected)


def test_schedule_multiplies_the_weight(rows: LogitRows) -> None:
    loss = KDLoss(loss_weight=2.0)
    full = loss(rows)
    loss.schedule = 0.25
    assert loss.weight == 0.5
    torch.testing.assert_close(loss(rows), full / 4)


def test_weight_zero_is_not_computed_but_keeps_the_graph(rows: LogitRows) -> None:
    class Exploding(LogitLoss):
        def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
            raise AssertionError('computed')

    loss = Exploding(loss_weight=0.0)(rows)
    loss.backward()
    assert loss == 0
    assert torch.equal(rows.student.grad, torch.zeros(4, 6))


@every_loss
def test_no_rows(kind: type[LogitLoss]) -> None:
    logits = torch.zeros(0, 6, requires_grad=True)
    loss = kind(standardize=True)(LogitRows(student=logits, teacher=logits.detach()))
    loss.backward()
    assert loss == 0 and logits.grad is not None


@every_loss
def test_clear_errors(kind: type[LogitLoss], rows: LogitRows) -> None:
    for weight in (float('nan'), float('inf')):
        with pytest.raises(ValueError, match='loss_weight must be finite'):
            kind(loss_weight=weight)
    with pytest.raises(ValueError, match="'main' or 'aux', but got 'both'"):
        kind(head='both')
    with pytest.raises(ValueError, match='tau must be'):
        kind(tau=0)
    no_aux = LogitRows(student=rows.student, teacher=rows.teacher)
    with pytest.raises(ValueError, match='Give the distiller an aux_head'):
        kind(head='aux')(no_aux)
