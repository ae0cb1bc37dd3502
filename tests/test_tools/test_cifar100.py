"""CIFAR-100 configs as they are, on a folder that looks like CIFAR-100."""

import os
import sys
from pathlib import Path

import pytest
from command_lines import CONFIGS, REPO, TRAIN, load, run, scalars

DATASET = 'make_cifar100_folder.SmallCIFAR100'
TEACHER = 'baseline/cifar100/res56'
TESTS = REPO / 'tests'


def train(name: str, cwd: Path, *options: str) -> Path:
    """Train for an epoch; return the work dir that the tool chooses."""
    path = [str(TESTS), os.environ.get('PYTHONPATH', '')]
    run(
        *(*TRAIN, CONFIGS / f'{name}.py', '--cfg-options', 'train_cfg.max_epochs=1'),
        *(
            f'{split}_dataloader.{option}'
            for split in ('train', 'val')
            for option in ('num_workers=0', f'dataset.type={DATASET}')
        ),
        'default_hooks.logger.interval=1',
        *options,
        cwd=cwd,
        env={'PYTHONPATH': os.pathsep.join(filter(None, path))},
    )
    return cwd / 'work_dirs' / name


@pytest.fixture(scope='module')
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and the trained teacher where the configs have them."""
    cwd = tmp_path_factory.mktemp('cifar100')
    script = TESTS / 'make_cifar100_folder.py'
    run(sys.executable, script, 'data/cifar100', cwd=cwd)
    teacher = train(TEACHER, cwd)
    (teacher / 'epoch_1.pth').rename(teacher / 'epoch_240.pth')
    return cwd


@pytest.mark.parametrize('method', ['dhkd', 'mcld'])
def test_train(method: str, cwd: Path) -> None:
    name = f'{method}/cifar100/res56_res20'
    work_dir = train(name, cwd, 'default_hooks.teacher_check.minimum=0')
    # The batches of 64 and of 16 images.
    losses = scalars(work_dir, f'loss_{method}')
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    assert scalars(work_dir, 'lr') == [0.05, 0.05]
    assert all(task > 0 for task in scalars(work_dir, 'loss_task'))
    # The teacher is as good here as it was in its own training.
    for metric in ('accuracy/top1', 'accuracy/top5'):
        assert scalars(work_dir, f'teacher/{metric}') == scalars(
            cwd / 'work_dirs' / TEACHER, metric
        )
    assert len(scalars(work_dir, 'accuracy/top1')) == 1
    assert (work_dir / 'best_accuracy_top1_epoch_1.pth').is_file()
    last, best = (load(work_dir / f'student_{which}.pth') for which in ('last', 'best'))
    assert last['meta']['epoch'] == best['meta']['epoch'] == 1
    assert last['state_dict']['head.fc.weight'].shape == (100, 64)
