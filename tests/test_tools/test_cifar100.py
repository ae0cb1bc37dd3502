"""CIFAR-100 configs as they are, on a folder that looks like CIFAR-100."""

from pathlib import Path

import pytest
from command_lines import load, scalars, train_small

TEACHER = 'baseline/cifar100/res56'


@pytest.mark.parametrize('method', ['dhkd', 'mcld'])
def test_train(method: str, cifar100: Path) -> None:
    name = f'{method}/cifar100/res56_res20'
    work_dir = train_small(
        name, cifar100, 'CIFAR100', 'default_hooks.teacher_check.minimum=0'
    )
    # The batches of 64 and of 16 images.
    losses = scalars(work_dir, f'loss_{method}')
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    assert scalars(work_dir, 'lr') == [0.05, 0.05]
    assert all(task > 0 for task in scalars(work_dir, 'loss_task'))
    # The teacher is as good here as it was in its own training.
    for metric in ('accuracy/top1', 'accuracy/top5'):
        assert scalars(work_dir, f'teacher/{metric}') == scalars(
            cifar100 / 'work_dirs' / TEACHER, metric
        )
    assert len(scalars(work_dir, 'accuracy/top1')) == 1
    assert (work_dir / 'best_accuracy_top1_epoch_1.pth').is_file()
    last, best = (load(work_dir / f'student_{which}.pth') for which in ('last', 'best'))
    assert last['meta']['epoch'] == best['meta']['epoch'] == 1
    assert last['state_dict']['head.fc.weight'].shape == (100, 64)
