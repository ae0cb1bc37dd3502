"""Stored logits on the command line, in one process and in two."""

import sys
from pathlib import Path

import pytest
from command_lines import (
    CONFIGS,
    REPO,
    TRAIN,
    assert_same,
    attempt,
    free_port,
    load,
    run,
    scalars,
)

CACHE = (sys.executable, REPO / 'tools' / 'cache_teacher.py')
# Random teachers give what is stored, whatever they are worth. An odd number of images
# leaves one to the first of two processes.
CONFIG = f"""
_base_ = {str(CONFIGS / 'mcld' / 'res20_res8_digits.py')!r}
model = dict(teacher=dict(checkpoint={{teacher!r}}))
train_dataloader = dict(batch_size=16, dataset=dict(indices=75))
val_dataloader = dict(dataset=dict(indices=30))
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), teacher_check=dict(minimum=0.0))
"""


@pytest.fixture(scope='module')
def cwd(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """A folder with a config and a store that one process has made."""
    cwd = tmp_path_factory.mktemp('cache')
    (cwd / 'mine.py').write_text(CONFIG.format(teacher=str(teacher)))
    result = run(*CACHE, 'mine.py', 'one', '--views', '2', cwd=cwd)
    assert '2 x 75 x 48 bytes and a header' in result.stdout
    assert 'written to one' in result.stdout
    return cwd


def test_two_processes_store_what_one_does(cwd: Path) -> None:
    script = REPO / 'tools' / 'dist_cache_teacher.sh'
    result = run(
        *(script, 'mine.py', '2', 'two', '--views', '2'), cwd=cwd, env=free_port()
    )
    assert result.stdout.count('written to two') == 1
    for path in (cwd / 'one').iterdir():
        assert (cwd / 'two' / path.name).read_bytes() == path.read_bytes()


def test_two_processes_train_from_a_store(cwd: Path) -> None:
    script = REPO / 'tools' / 'dist_train.sh'
    for name, option in (('live', 'views=2'), ('stored', 'cache=one')):
        run(
            *(script, 'mine.py', '2', '--work-dir', name),
            *('--cfg-options', f'model.teacher.{option}'),
            cwd=cwd,
            env=free_port(),
        )
    live, stored = (load(cwd / name / 'epoch_2.pth') for name in ('live', 'stored'))
    for part in ('state_dict', 'optimizer'):
        assert_same(stored[part], live[part])
    assert scalars(cwd / 'stored', 'loss_mcld') == scalars(cwd / 'live', 'loss_mcld')


def test_errors_are_short(cwd: Path) -> None:
    result = attempt(*CACHE, 'mine.py', 'one', '--views', '0', cwd=cwd)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == '--views must be 1 or more, but got 0.'
    options = ('--cfg-options', 'model.teacher.cache=none')
    result = attempt(*TRAIN, 'mine.py', *options, cwd=cwd)
    assert result.returncode == 1
    assert "The store of logits 'none' does not exist" in result.stdout
