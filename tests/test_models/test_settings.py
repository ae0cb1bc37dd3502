from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from mmkd_logit.models.settings import (
    build_part,
    check_keys,
    is_distiller,
    parameters_of,
)


class Base:
    def __init__(self, weight: float = 1.0, name: str = 'x') -> None:
        self.weight, self.name = weight, name


class Passes(Base):
    renamed = {'old': 'Write tau instead.'}

    def __init__(self, tau: float, **common: Any) -> None:
        super().__init__(**common)
        self.tau = tau


class Silent(Passes):
    pass


class Anything(nn.Module):
    def __init__(self, size: int, **options: Any) -> None:
        super().__init__()
        self.size, self.options = size, options


class Refuses(nn.Module):
    def __init__(self, size: int, **unknown: Any) -> None:
        super().__init__()


def test_parameters_of_a_class_and_its_bases() -> None:
    for kind in (Passes, Silent):
        assert list(parameters_of(kind)) == ['tau', 'weight', 'name']
    assert list(parameters_of(Refuses)) == ['size']
    assert list(parameters_of(Anything)) == ['size', 'kwargs']
    assert list(parameters_of(lambda a, b=1: None)) == ['a', 'b']


def test_builds_and_fills_in() -> None:
    known = {'weight': 3.0, 'channels': 7}
    built = build_part(dict(type=Silent, tau=2.0), 'losses.it', known)
    assert (built.tau, built.weight, built.name) == (2.0, 3.0, 'x')
    built = build_part(dict(type=Silent, tau=2.0, weight=1.0), 'losses.it', known)
    assert built.weight == 1.0
    assert build_part(dict(type=Anything, size=1, mine=2), 'it').options == {'mine': 2}
    lenet = build_part(dict(type='mmpretrain.LeNet5', num_classes=3), 'it')
    assert type(lenet).__name__ == 'LeNet5'


def test_names_the_setting_at_fault() -> None:
    for bad in (dict(tau=1.0), 'KDLoss', None):
        with pytest.raises(ValueError, match=r'losses.kd must be a dict with a type'):
            build_part(bad, 'losses.kd')
    with pytest.raises(
        TypeError, match=r"it has the unknown key 'weights'. Did you mean 'weight'"
    ):
        build_part(dict(type=Silent, tau=1.0, weights=2), 'it')
    with pytest.raises(TypeError, match=r'Silent takes tau, weight, name'):
        check_keys(Silent, {'nothing_like_it': 1}, 'it')
    with pytest.raises(TypeError, match=r"key 'old', which only .*Write tau inst"):
        check_keys(Silent, {'old': 1}, 'it')
    with pytest.raises(TypeError, match=r"it: .*missing 1 required .*'tau'"):
        build_part(dict(type=Silent), 'it')
    with pytest.raises(
        KeyError, match=r"it.type is 'Nowhere', which is not registered"
    ):
        build_part(dict(type='Nowhere'), 'it')
    with pytest.raises(TypeError, match="unknown key 'sizes'. Did you mean 'size'"):
        check_keys(Refuses, {'sizes': 1}, 'it')


def test_is_distiller() -> None:
    from mmkd_logit.models import LogitDistiller

    for kind in ('LogitDistiller', 'mmkd_logit.LogitDistiller', LogitDistiller):
        assert is_distiller(dict(type=kind))
    for kind in ('ImageClassifier', None, Base):
        assert not is_distiller(dict(type=kind))
