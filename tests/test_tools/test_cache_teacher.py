"""Stored logits on the command line, in one process and in two."""

import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from command_lines import (
    CONFIGS,
    REPO,
    assert_same,
    call,
    last_words,
    load,
    run,
    scalars,
)
from mmengine.config import Config

from mmkd_logit.apis import build_model

# Random teachers give what is stored, whatever they are worth. An odd number of images
# leaves one to the first of two processes.
CONFIG = f"""
_base_ = {str(CONFIGS / 'mcld' / 'res20_res8_digits.py')!r}
model = dict(teacher=dict(checkpoint='teacher.pth'))
train_dataloader = dict(batch_size=16, dataset=dict(indices=75))
val_dataloader = dict(dataset=dict(indices=30))
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), teacher_check=dict(minimum=0.0))
"""
VIEWS = ('--cfg-options', 'model.teacher.views=2')
CACHE = ('--cfg-options', 'model.teacher.cache=two')


@pytest.fixture(scope='module')
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random teacher and configs of it."""
    cwd = tmp_path_factory.mktemp('cache')
    torch.manual_seed(0)
    model = build_model(Config.fromfile(CONFIGS / 'baseline' / 'res20_digits.py'))
    torch.nn.init.normal_(model.head.fc.weight)
    torch.save(model.state_dict(), cwd / 'teacher.pth')
    for name in ('mine', 'live', 'stored'):
        (cwd / f'{name}.py').write_text(CONFIG)
    return cwd


@pytest.fixture(scope='module')
def store(cwd: Path) -> Path:
    """A store that one process has made."""
    output = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.chdir(cwd)
        call('cache_teacher', 'mine.py', 'one', '--views', '2')
    assert '2 x 75 x 48 bytes and a header' in output.getvalue()
    assert 'written to one' in output.getvalue()
    return cwd / 'one'


@pytest.fixture(scope='module')
def in_two(cwd: Path) -> str:
    """What two processes print that store, and train live and from their store."""
    launch = (sys.executable, '-m', 'mmkd_logit.launch', '--standalone')
    tools = (
        ('cache_teacher.py', 'mine.py', 'two', '--views', '2'),
        ('train.py', 'live.py', '--work-dir', 'live', *VIEWS),
        ('train.py', 'stored.py', '--work-dir', 'stored', *CACHE),
    )
    printed = []
    for tool, *arguments in tools:
        command = (*launch, '--nproc_per_node=2', REPO / 'tools' / tool, *arguments)
        printed.append(run(*command, '--launcher', 'pytorch', cwd=cwd).stdout)
    return ''.join(printed)


def test_two_processes_store_what_one_does(cwd: Path, store: Path, in_two: str) -> None:
    assert in_two.count('written to two') == 1
    for path in store.iterdir():
        assert (cwd / 'two' / path.name).read_bytes() == path.read_bytes()


def test_two_processes_train_from_a_store(cwd: Path, in_two: str) -> None:
    assert in_two.count('the teacher is not loaded') == 1
    live, stored = (load(cwd / name / 'epoch_2.pth') for name in ('live', 'stored'))
    for part in ('state_dict', 'optimizer'):
        assert_same(stored[part], live[part])
    assert scalars(cwd / 'stored', 'loss_mcld') == scalars(cwd / 'live', 'loss_mcld')


def test_launcher(tmp_path: Path) -> None:
    """The script starts the tool as the test above does."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    path = {'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', 'PORT': '1234'}
    script = REPO / 'tools' / 'dist_cache_teacher.sh'
    arguments = ('mine.py', '2', 'two', '--views', '2')
    assert run(script, *arguments, cwd=tmp_path, env=path).stdout.split() == [
        *('-m', 'mmkd_logit.launch', '--nnodes=1', '--node_rank=0'),
        *('--master_addr=127.0.0.1', '--master_port=1234', '--nproc_per_node=2'),
        str(script.with_name('cache_teacher.py')),
        *('mine.py', '--launcher', 'pytorch', 'two', '--views', '2'),
    ]


def test_errors_are_short(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cwd)
    said = last_words('cache_teacher', 'mine.py', 'one', '--views', '0')
    assert said == 'mine.py: --views must be 1 or more, but got 0.'
