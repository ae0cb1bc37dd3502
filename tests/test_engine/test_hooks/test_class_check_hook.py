"""Datasets whose labels mean something else are refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmkd_logit.engine import ClassCheckHook
from mmkd_logit.engine.hooks.class_check_hook import check_same_classes

SHAPES = ('circle', 'ring', 'square')


def loader(*classes: str) -> SimpleNamespace:
    return SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))


def start(train: tuple[str, ...], val: tuple[str, ...] | None) -> None:
    loop = None if val is None else SimpleNamespace(dataloader=loader(*val))
    runner = SimpleNamespace(train_dataloader=loader(*train), val_loop=loop)
    ClassCheckHook().before_train(runner)


@pytest.mark.parametrize(
    'val',
    [
        SHAPES,
        None,
        (),  # it has no names
        ('circle', 'ring'),  # the last one lacks images
        ('disc', 'ring', 'box'),  # other names for the same
    ],
)
def test_the_same_labels(val: tuple[str, ...] | None) -> None:
    start(SHAPES, val)


def test_a_name_that_occurs_twice() -> None:
    """As 'crane' does in ImageNet, a bird and a machine."""
    twice = ('crane', 'ring', 'crane')
    check_same_classes(twice, ('crane', 'band', 'crane'), 'A', 'B')


def test_a_folder_is_missing() -> None:
    message = (
        r"The validation set .* from the training set: 'square' is class 1, not 2, "
        r"so labels would be wrong\. The validation set lacks 'ring'\. .*may be empty"
    )
    with pytest.raises(ValueError, match=message):
        start(SHAPES, ('circle', 'square'))


def test_a_folder_too_many() -> None:
    message = "'ring' is class 2, not 1, .* The training set lacks 'oval'"
    with pytest.raises(ValueError, match=message):
        start(SHAPES, ('circle', 'oval', 'ring', 'square'))
