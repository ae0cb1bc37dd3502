"""What the tests of the tools share."""

from pathlib import Path

import pytest
from command_lines import CONFIGS, TRAIN, run


@pytest.fixture(scope='session')
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of the teacher on digits after six epochs."""
    cwd = tmp_path_factory.mktemp('teacher')
    config = CONFIGS / 'baseline' / 'res20_digits.py'
    run(*TRAIN, config, '--cfg-options', 'train_cfg.max_epochs=6', cwd=cwd)
    return cwd / 'work_dirs' / 'baseline' / 'res20_digits' / 'epoch_6.pth'
