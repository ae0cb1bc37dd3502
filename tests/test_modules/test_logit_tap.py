from __future__ import annotations

import pytest
import torch
from torch import nn

from mmkd_logit.modules import LogitTap


def test_keeps_feature_and_logits_and_leaves_no_hook() -> None:
    layer = nn.Linear(4, 2)
    feature = torch.randn(3, 4)
    with LogitTap(layer, 'fc') as tap:
        logits = layer(feature)
    assert tap.feature is feature and tap.logits is logits
    assert not layer._forward_hooks


@pytest.mark.parametrize('times', [0, 2])
def test_must_run_once(times: int) -> None:
    layer = nn.Linear(4, 2)
    with (
        pytest.raises(RuntimeError, match=f"'fc' must run once .* ran {times} times"),
        LogitTap(layer, 'fc'),
    ):
        for _ in range(times):
            layer(torch.randn(3, 4))
    assert not layer._forward_hooks


def test_an_error_inside_is_not_hidden() -> None:
    layer = nn.Linear(4, 2)
    with pytest.raises(KeyError), LogitTap(layer, 'fc'):
        raise KeyError
    assert not layer._forward_hooks
