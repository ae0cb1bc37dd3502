from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from mmkd_logit.registry import MODELS
from mmkd_logit.tasks import find_logit_layer

HEADS = {
    'head.fc': dict(type='LinearClsHead'),
    'head.layers.1.fc': dict(type='StackedLinearClsHead', mid_channels=[16]),
    'head.layers.head': dict(type='VisionTransformerClsHead'),
    'head.head': dict(type='EfficientFormerClsHead', distillation=False),
}


@pytest.mark.parametrize('name', HEADS)
def test_finds_the_last_layer(name: str, classifier: Callable[..., dict]) -> None:
    model = MODELS.build(classifier(**HEADS[name]))
    assert find_logit_layer(model) == name
    assert find_logit_layer(model, name) == name


def test_ambiguous_or_absent(classifier: Callable[..., dict]) -> None:
    twice = MODELS.build(classifier(type='StackedLinearClsHead', mid_channels=[5]))
    with pytest.raises(ValueError, match=r'found .*layers.0.fc.*layers.1.fc.*Name it'):
        find_logit_layer(twice)
    assert find_logit_layer(twice, 'head.layers.1.fc') == 'head.layers.1.fc'
    none = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"found none.*The last layers .*\['0'\]"):
        find_logit_layer(none)


def test_named_layer(classifier: Callable[..., dict]) -> None:
    model = MODELS.build(classifier())
    with pytest.raises(ValueError, match=r"'head.cls' is not a layer.*'head.fc'"):
        find_logit_layer(model, 'head.cls')
    with pytest.raises(TypeError, match='must be a Linear or a Conv2d.*BatchNorm2d'):
        find_logit_layer(model, 'backbone.bn1')
