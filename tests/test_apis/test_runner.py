"""What a run shows on the screen, and how it finds its files again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mmengine.runner import Runner

from mmkd_logit.apis import build_runner, latest_checkpoint, make_config

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
data_preprocessor = dict(mean=[78.0], std=[96.0], num_classes=10)
dataset = dict(
    type='mmkd_logit.Digits', indices=8, pipeline=[dict(type='PackInputs')]
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dataset,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_dataloader = train_dataloader
val_evaluator = dict(type='Accuracy')
val_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05))
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', save_best='accuracy/top1', rule='less'),
    logger=dict(type='LoggerHook', interval=1),
)
"""


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    monkeypatch.chdir(tmp_path)

    def run(name: str, work_dir: str, **options: object) -> Runner:
        # mmengine keeps loggers by the name of the config and the second.
        Path(f'{name}.py').write_text(CONFIG)
        runner = build_runner(make_config(f'{name}.py', work_dir, options))
        runner.train()
        return runner

    return run  # type: ignore[return-value]


def test_the_screen_shows_what_changes(
    train: type, capfd: pytest.CaptureFixture[str]
) -> None:
    train('shown', 'work')
    screen = capfd.readouterr().out
    (log,) = Path('work').glob('*/*.log')
    written = log.read_text()
    for text in ('Config:\n', 'System environment:', 'Hooks will be executed'):
        assert text in written
        assert text not in screen
    lines = screen.splitlines()
    (first,) = [i for i, line in enumerate(lines) if 'Epoch(train) [1][1/2]' in line]
    assert first < 8
    assert f'config and environment are in {log.parent.absolute()}' in screen
    assert 'Epoch(val) [1][2/2]' in screen


@pytest.mark.parametrize('copied', [False, True])
def test_a_moved_run_goes_on_in_its_new_folder(copied: bool, train: type) -> None:
    train('old', 'old')
    assert latest_checkpoint('old') == str(Path('old/epoch_1.pth').absolute())
    assert latest_checkpoint('nowhere') is None
    (best,) = Path('old').glob('best_*')
    (shutil.copytree if copied else shutil.move)('old', 'new')
    before = sorted(Path('old').rglob('*'))
    runner = train('resumed', 'new', resume=True, **{'train_cfg.max_epochs': 2})
    assert runner.epoch == 2
    assert sorted(Path('old').rglob('*')) == before
    assert Path('new/epoch_2.pth').is_file()
    noted = runner.message_hub.get_info('best_ckpt')
    assert Path(noted).parent == Path('new').absolute()
    # The best checkpoint of the first epoch is kept, or replaced.
    assert len(list(Path('new').glob('best_*'))) == 1
    logs = ''.join(path.read_text() for path in Path('new').glob('*/*.log'))
    old = Path('old/epoch_1.pth').absolute()
    assert f'resuming from {Path("new/epoch_1.pth").absolute()}, not from {old}' in logs


def test_a_checkpoint_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_3.pth')
    assert latest_checkpoint(tmp_path) == '/gone/epoch_3.pth'
