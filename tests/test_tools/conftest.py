"""What the tests of the tools share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_lines import CONFIGS, REPO, TRAIN, run, tool, train_small


@pytest.fixture(scope='session')
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of the teacher on digits after six epochs."""
    cwd = tmp_path_factory.mktemp('teacher')
    config = CONFIGS / 'baseline' / 'res20_digits.py'
    run(*TRAIN, config, '--cfg-options', 'train_cfg.max_epochs=6', cwd=cwd)
    return cwd / 'work_dirs' / 'baseline' / 'res20_digits' / 'epoch_6.pth'


@pytest.fixture(scope='session')
def cifar100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and a trained teacher where the configs have them."""
    cwd = tmp_path_factory.mktemp('cifar100')
    script = REPO / 'tests' / 'make_cifar100_folder.py'
    run(sys.executable, script, 'data/cifar100', cwd=cwd)
    teacher = train_small('baseline/cifar100/res56', cwd, 'CIFAR100')
    (teacher / 'epoch_1.pth').rename(teacher / 'epoch_240.pth')
    return cwd


@pytest.fixture(scope='session')
def make_scenes() -> Callable[..., None]:
    """What tools/dataset_converters/make_scenes.py draws with."""
    return tool('dataset_converters/make_scenes').make_scenes
