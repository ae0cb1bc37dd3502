"""The registered losses of the papers that are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkd_logit import functional
from mmkd_logit.modules.losses import (
    DKDLoss,
    GKLLoss,
    LogitLoss,
    NKDLoss,
    NormKDLoss,
    RLDLoss,
    TTMLoss,
    WSLDLoss,
    WTTMLoss,
)
from mmkd_logit.structures import LogitRows

METHODS: list[tuple[type[LogitLoss], Callable[..., Tensor], dict[str, float]]] = [
    (DKDLoss, functional.dkd_loss, dict(alpha=1.0, beta=8.0, tau=4.0)),
    (GKLLoss, functional.gkl_loss, dict(alpha=1.0, beta=1.0, tau=1.0)),
    (NKDLoss, functional.nkd_loss, dict(gamma=1.5, tau=1.0)),
    (NormKDLoss, functional.normkd_loss, dict(tau=2.0)),
    (
        RLDLoss,
        functional.rld_loss,
        dict(alpha=1.0, beta=8.0, tau=4.0, alpha_tau=1.0),
    ),
    (TTMLoss, functional.ttm_loss, dict(gamma=0.1)),
    (WSLDLoss, functional.wsld_loss, dict(tau=2.0)),
    (WTTMLoss, functional.wttm_loss, dict(gamma=0.1)),
]
every_method = pytest.mark.parametrize(
    ('kind', 'function', 'defaults'),
    METHODS,
    ids=lambda each: getattr(each, '__name__', ''),
)
FROM_0 = {(DKDLoss, 'alpha'), (DKDLoss, 'beta'), (GKLLoss, 'alpha'), (GKLLoss, 'beta')}
FROM_0 |= {(RLDLoss, 'alpha'), (RLDLoss, 'beta'), (NKDLoss, 'gamma')}


def make_rows() -> LogitRows:
    student, teacher = torch.randn(2, 6, 5)
    return LogitRows(student, teacher, labels=torch.arange(6) % 5)


@every_method
def test_computes_the_function_with_its_settings(
    kind: type[LogitLoss], function: Callable[..., Tensor], defaults: dict[str, Any]
) -> None:
    rows = make_rows()
    both = [rows.student, rows.teacher, *([rows.labels] if kind.needs_labels else [])]
    torch.testing.assert_close(kind()(rows), function(*both, **defaults))
    torch.testing.assert_close(kind()(rows), function(*both))
    others = {name: value + 0.5 for name, value in defaults.items()}
    got = kind(**others, loss_weight=2.0)(rows)
    torch.testing.assert_close(got, 2 * function(*both, **others))
    for name in defaults:
        single = kind(**{**defaults, name: others[name]})(rows)
        expected = function(*both, **{**defaults, name: others[name]})
        torch.testing.assert_close(single, expected)
        assert single != kind()(rows)


@every_method
def test_settings_are_checked_when_it_is_built(
    kind: type[LogitLoss], function: Callable[..., Tensor], defaults: dict[str, Any]
) -> None:
    for name in defaults:
        for bad in (-1.0, math.nan, math.inf, 'abc', None, True):
            with pytest.raises(ValueError, match=f'{name} must be a finite number'):
                kind(**{name: bad})
        if (kind, name) in FROM_0:
            assert getattr(kind(**{name: 0.0}), name) == 0
        else:
            with pytest.raises(ValueError, match=f'{name} must be .* above 0'):
                kind(**{name: 0.0})


@pytest.mark.parametrize('kind', [DKDLoss, NKDLoss, RLDLoss, WSLDLoss])
def test_labels_are_needed_and_checked(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    assert kind().needs_labels
    with pytest.raises(ValueError, match=f'{kind.__name__} needs one label per row'):
        kind()(LogitRows(rows.student, rows.teacher))
    with pytest.raises(ValueError, match='from 0 to 4, but got 255'):
        kind()(LogitRows(rows.student, rows.teacher, labels=torch.full((6,), 255)))


@pytest.mark.parametrize('kind', [GKLLoss, NormKDLoss, TTMLoss, WTTMLoss])
def test_others_do_without_labels(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    assert not kind().needs_labels
    assert kind()(LogitRows(rows.student, rows.teacher)) > 0
