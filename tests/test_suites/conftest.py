"""Suites of small configs, and runs that are not trainings."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_runs import ScriptedRun

from mmkd_logit.suites import Row, Run

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
data = dict(batch_size=1, dataset=dict(type='mmkd_logit.Digits', pipeline=[]))
train_dataloader = val_dataloader = data
val_evaluator = dict(type='Accuracy', topk=(1,))
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Config of a plain classifier."""
    path = tmp_path / 'plain' / 'small.py'
    path.parent.mkdir()
    path.write_text(CONFIG)
    return path


@pytest.fixture
def distiller(config: Path) -> Path:
    """Config of a distiller whose teacher is the plain classifier."""
    path = config.with_name('distilled.py')
    path.write_text(
        "_base_ = './small.py'\n"
        "model = dict(_delete_=True, type='mmkd_logit.LogitDistiller', "
        'student=_base_.model, '
        f'teacher=dict(config={str(config)!r}, checkpoint="missing.pth"), '
        "losses=dict(kd=dict(type='KDLoss', tau=2.0)))\n"
    )
    return path


@pytest.fixture
def make_run(config: Path, tmp_path: Path) -> Callable[..., Run]:
    def make(
        name: str,
        how: str = 'end',
        teacher: Run | None = None,
        is_teacher: bool = False,
    ) -> Run:
        work_dir = tmp_path / 'runs' / name
        run = ScriptedRun(
            Row(name, config), 0, work_dir, {'lr': '1'}, teacher, 2, is_teacher
        )
        run.how = how
        return run

    return make
