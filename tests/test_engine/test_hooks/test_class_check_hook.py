"""Datasets whose labels mean something else are refused."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmpretrain.datasets import CustomDataset
from torch import nn

from mmkd_logit.engine import ClassCheckHook
from mmkd_logit.engine.hooks.class_check_hook import check_same_classes

SHAPES = ('circle', 'ring', 'square')


def loader(*classes: str) -> SimpleNamespace:
    return SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))


def start(
    train: tuple[str, ...], val: tuple[str, ...] | None, model: nn.Module | None = None
) -> None:
    loop = None if val is None else SimpleNamespace(dataloader=loader(*val))
    runner = SimpleNamespace(
        train_dataloader=loader(*train), val_loop=loop, model=model or nn.Module()
    )
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


def head(count: int) -> nn.Module:
    head = nn.Module()
    head.num_classes = count
    return head


def test_numbers_of_classes() -> None:
    plain, segmentor, cascade = nn.Module(), nn.Module(), nn.Module()
    plain.head, segmentor.decode_head = head(3), head(3)
    cascade.decode_head = nn.ModuleList([head(2), head(3)])
    for model in (plain, segmentor, cascade):
        start(SHAPES, SHAPES, model)
        message = r"2 classes \('ring', 'square'\), but the model has num_classes=3"
        with pytest.raises(ValueError, match=message):
            start(SHAPES[1:], None, model)
    with pytest.raises(ValueError, match=r"'\.cache' is a hidden folder.*: delete it"):
        start(('.cache', *SHAPES), None, plain)


def test_files_that_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ('a/1.png', 'a/2.webp', 'b/3.WEBP', 'b/4.gif', 'b/5.jpg', 'b/.hidden')
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dataset = CustomDataset(data_prefix=str(tmp_path), pipeline=[])
    wrapped = SimpleNamespace(dataset=SimpleNamespace(dataset=dataset), metainfo={})
    runner = SimpleNamespace(
        train_dataloader=wrapped,
        val_loop=None,
        model=nn.Module(),
        logger=logging.getLogger('skipped'),
    )
    ClassCheckHook().before_train(runner)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f'The training set skips 3 files in {tmp_path}: 2 .webp, 1 .gif. It reads .'
    )
