"""Kendall's tau beside KD on digits: the log and the schedule."""

from pathlib import Path

import pytest
from command_lines import CONFIGS, TRAIN, run, scalars

LEAF = CONFIGS / 'kd_kendall-tau' / 'res20_res8_digits.py'

# Both losses stop after the first of two epochs.
STOPS = f"""
_base_ = {str(LEAF)!r}
model = dict(kendall_tau_rows=16)
train_cfg = dict(max_epochs=2, val_interval=1)
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', end=1)]
"""


@pytest.fixture(scope='module')
def work_dir(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp('kendall_tau')
    (cwd / 'stops.py').write_text(STOPS)
    options = (
        f'model.teacher.checkpoint={teacher}',
        'default_hooks.teacher_check.minimum=0',
    )
    run(*TRAIN, 'stops.py', '--cfg-options', *options, cwd=cwd)
    return cwd / 'work_dirs' / cwd.name / 'stops'


def test_log(work_dir: Path) -> None:
    ranking, kd = (scalars(work_dir, f'loss_{name}') for name in ('kendall_tau', 'kd'))
    task = scalars(work_dir, 'loss_task')
    assert len(ranking) == len(kd) == 4
    sums = [sum(parts) for parts in zip(ranking, kd, task)]
    assert scalars(work_dir, 'loss') == pytest.approx(sums, rel=1e-5)
    # The weight is that of KD, and the loss is at most 2.
    assert all(0 < loss < 0.9 * 2 for loss in ranking[:2])
    assert ranking[2:] == kd[2:] == [0, 0]
    taus = scalars(work_dir, 'kendall_tau')
    assert len(taus) == 2
    assert -1 < taus[0] < taus[1] < 1
