"""Mistakes are told from bugs, and what they say is short and never empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmkd_logit.errors import failed_in, is_mistake, message_of
from mmkd_logit.registry import MODELS


def module(name: str, source: str) -> ModuleType:
    """A module whose functions belong to a package of that name."""
    made = ModuleType(name)
    exec(compile(source, f'/{name}.py', 'exec'), vars(made))
    return made


def raised_by(work: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as info:
        work()
    return info.value


FUNCTIONS = """
import contextlib

def checks():
    with contextlib.suppress(OSError):
        try:
            raise ValueError('tau must be above 0, but got -1.')
        finally:
            pass

def looks_up():
    return {}['tau']

def asserts():
    assert 1 > 2

def calls(function, *args):
    return function(*args)

def replaces(function):
    try:
        function()
    except KeyError as error:
        raise TypeError(f'{error} in a hook') from None
"""
OURS, TOOLBOX, OTHER = (
    module(name, FUNCTIONS) for name in ('mmkd_logit.x', 'mmengine.x', 'my_module')
)


@pytest.mark.parametrize(
    ('work', 'mistake'),
    [
        (OURS.checks, True),
        (OURS.looks_up, False),
        (OURS.asserts, False),
        (lambda: OURS.calls(int, 'x'), False),
        (lambda: OURS.calls(OTHER.looks_up), False),
        (lambda: OURS.calls(torch.nn.Linear(2, 3), torch.ones(1, 5)), False),
        (lambda: OURS.calls(Path('nowhere').read_text), True),
        (lambda: OURS.calls(__import__, 'no_such_package'), True),
        (TOOLBOX.checks, True),
        (TOOLBOX.asserts, True),
        (lambda: TOOLBOX.calls(int, 'x'), True),
        (lambda: TOOLBOX.calls(OTHER.looks_up), True),
        (lambda: TOOLBOX.calls(OURS.looks_up), False),
        (lambda: TOOLBOX.calls(OURS.checks), True),
        (lambda: TOOLBOX.replaces(OURS.looks_up), False),
        (lambda: TOOLBOX.replaces(OTHER.looks_up), True),
        (OTHER.checks, False),
        (lambda: MODELS.build(dict(type='LinearClsHead', num_classes='x')), True),
    ],
)
def test_who_is_to_blame(work: Callable[[], Any], mistake: bool) -> None:
    assert is_mistake(raised_by(work)) == mistake


def test_memory() -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
    assert is_mistake(error)
    assert message_of(error).endswith(
        'Reduce the batch size, such as train_dataloader.batch_size.'
    )


def test_messages() -> None:
    ours, looked_up = raised_by(OURS.checks), raised_by(OTHER.looks_up)
    assert message_of(ours) == 'tau must be above 0, but got -1.'
    assert message_of(looked_up) == 'KeyError: tau (/my_module.py, line 12)'
    assert message_of(ValueError()) == 'ValueError: no message'
    toolbox = raised_by(TOOLBOX.asserts)
    assert message_of(toolbox) == 'AssertionError: asserts (/mmengine.x.py, line 15)'
    assert failed_in(toolbox) == 'mmengine.x, line 15'
    assert failed_in(ours) == ''


def test_a_cause_is_told_where_it_says_more() -> None:
    plain = RuntimeError('no model')
    plain.__cause__ = ImportError("No module named 'x'")
    told = "RuntimeError: no model\n  caused by No module named 'x'"
    assert message_of(plain) == told
    plain.__cause__ = KeyError('model')
    assert message_of(plain) == 'RuntimeError: no model'


def test_the_line_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / 'mine.py'
    path.write_text('a = 1\nb = c\n')
    error = raised_by(lambda: Config.fromfile(str(path)))
    assert is_mistake(error)
    told = f"NameError: name 'c' is not defined ({path}, line 2)"
    assert message_of(error) == told


class Broken:
    """A dataset that cannot read its files."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> None:
        raise ValueError('a.jpg (an empty file) cannot be loaded.\nSave it again.')


def test_a_worker_process() -> None:
    loader = DataLoader(Broken(), num_workers=1)  # type: ignore[arg-type]
    error = raised_by(lambda: next(iter(loader)))
    assert is_mistake(error)
    told = 'a.jpg (an empty file) cannot be loaded.\nSave it again.'
    assert message_of(error) == told
    assert failed_in(error) == ''
