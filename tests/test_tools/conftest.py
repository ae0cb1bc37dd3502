"""What the tests of the tools share."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from command_lines import CONFIGS, REPO, TRAIN, run


@pytest.fixture(scope='session')
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of the teacher on digits after six epochs."""
    cwd = tmp_path_factory.mktemp('teacher')
    config = CONFIGS / 'baseline' / 'res20_digits.py'
    run(*TRAIN, config, '--cfg-options', 'train_cfg.max_epochs=6', cwd=cwd)
    return cwd / 'work_dirs' / 'baseline' / 'res20_digits' / 'epoch_6.pth'


@pytest.fixture(scope='session')
def make_scenes() -> Callable[..., None]:
    """What tools/dataset_converters/make_scenes.py draws with."""
    script = REPO / 'tools' / 'dataset_converters' / 'make_scenes.py'
    spec = importlib.util.spec_from_file_location('make_scenes', script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_scenes
