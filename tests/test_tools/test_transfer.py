"""A student learns on CIFAR-100, and is probed on STL-10 and Tiny-ImageNet."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch
from command_lines import (
    CONFIGS,
    REPO,
    assert_same,
    call,
    free_port,
    load,
    run,
    scalars,
    small,
    with_tests,
)
from make_stl10_folder import make_stl10_folder
from make_tiny_imagenet_folder import make_tiny_imagenet_folder
from released_networks import released_weights

from mmkd_logit.suites import plan_runs, read_suite
from mmkd_logit.suites.suite import as_arguments

COMPARE = (sys.executable, REPO / 'tools' / 'compare.py')
OF_STUDENT = {**small('CIFAR100'), 'default_hooks.teacher_check.minimum': 0}
SUITE = f"""
_student = dict(
    config={str(CONFIGS / 'kd/cifar100/res56_res20.py')!r},
    options={OF_STUDENT},
    teacher={str(CONFIGS / 'baseline/cifar100/res56.py')!r},
)
rows = {{
    'STL-10': dict(
        config={str(CONFIGS / 'transfer/stl10/res20.py')!r},
        options={small('STL10')},
        student=_student,
    ),
    'Tiny-ImageNet': dict(
        config={str(CONFIGS / 'transfer/tiny-imagenet/res20.py')!r},
        options={small('TinyImageNet')},
        student=_student,
    ),
}}
seeds = [1]
"""


@pytest.fixture(scope='module')
def cwd(cifar100: Path) -> Path:
    """The folder of CIFAR-100 and the teacher, with the other data beside."""
    make_stl10_folder(cifar100 / 'data' / 'stl10')
    make_tiny_imagenet_folder(cifar100 / 'data' / 'tiny-imagenet-200')
    return cifar100


def features(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The weights and statistics of the backbone."""
    weights = load(checkpoint)['state_dict']
    found = {key.removeprefix('student.'): value for key, value in weights.items()}
    return {key: found[key] for key in found if key.startswith('backbone.')}


def test_compare_trains_a_student_and_probes_it(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cwd / 'probes.py').write_text(SUITE)
    run(*COMPARE, 'probes.py', cwd=cwd, env=with_tests(), timeout=240)
    compared = cwd / 'work_dirs' / 'compare'
    report = json.loads((compared / 'probes' / 'results.json').read_text())
    assert [line['name'] for line in report['lines']] == ['STL-10', 'Tiny-ImageNet']
    assert report['teacher'] is None
    (student,) = compared.glob('kd/cifar100/res56_res20_*/seed1/epoch_1.pth')
    assert not list(compared.glob('baseline/*'))  # the teacher was there
    expected = features(student)
    for data, classes in (('stl10', 10), ('tiny-imagenet', 200)):
        folder = f'transfer/{data}/res20_kd-cifar100-res56_res20_*/seed1'
        (probe,) = compared.glob(f'{folder}/epoch_1.pth')
        found = features(probe)
        assert list(found) == list(expected)
        assert all(torch.equal(found[key], expected[key]) for key in found)
        assert load(probe)['state_dict']['head.fc.weight'].shape == (classes, 64)
        assert len(scalars(probe.parent, 'accuracy/top5')) == 1
    monkeypatch.chdir(cwd)
    runs = plan_runs(read_suite('probes.py'), Path('work_dirs/compare'))
    assert [run.done for run in runs] == [True] * 3


def test_an_imported_student_and_resume(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cwd)
    torch.save({'model': released_weights('resnet20')}, 'ckpt_epoch_240.pth')
    plain = CONFIGS / 'baseline' / 'cifar100' / 'res20.py'
    call('model_converters/import_checkpoint', plain, 'ckpt_epoch_240.pth', 'res20.pth')
    name = 'transfer/stl10/res20'
    config = CONFIGS / f'{name}.py'
    for epochs, how in ((1, ()), (2, ('--resume',))):
        settings = {**small('STL10', epochs), 'model.checkpoint': 'res20.pth'}
        time.sleep(1)  # mmengine names a run by the second
        call('train', config, *how, '--cfg-options', *as_arguments(settings))
    work_dir = cwd / 'work_dirs' / name
    assert scalars(work_dir, 'iter') == [3, 4]
    assert scalars(work_dir, 'lr') == [0.1, 0.1]
    found, expected = features(work_dir / 'epoch_2.pth'), features(cwd / 'res20.pth')
    assert all(torch.equal(found[key], expected[key]) for key in found)
    # Testing needs no student.
    loader = {key.replace('val_', 'test_'): value for key, value in settings.items()}
    arguments = as_arguments({**settings, **loader, 'model.checkpoint': 'none.pth'})
    file = work_dir / 'epoch_2.pth'
    time.sleep(1)
    call('test', config, file, '--out', 'metrics.json', '--cfg-options', *arguments)
    metrics = json.loads((cwd / 'metrics.json').read_text())
    assert metrics['accuracy/top1'] == scalars(work_dir, 'accuracy/top1')[-1]
    with pytest.raises(
        FileNotFoundError, match=r"'none.pth' does not exist.*Train the"
    ):
        call('train', config, '--cfg-options', *arguments)


# Without augmentation two half batches are one whole batch.
UNCHANGED = f"""
_base_ = {str(CONFIGS / 'transfer/stl10/res20.py')!r}
train_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
default_hooks = dict(checkpoint=dict(interval=1))
"""


def test_two_processes_probe_as_one_does(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cwd)
    (cwd / 'unchanged.py').write_text(UNCHANGED)
    torch.save({'model': released_weights('resnet20')}, 'ckpt_epoch_240.pth')
    settings = {**small('STL10', 2), 'model.checkpoint': 'ckpt_epoch_240.pth'}
    time.sleep(1)  # mmengine names a run by the second
    options = ('--cfg-options', *as_arguments(settings))
    call('train', 'unchanged.py', '--work-dir', 'one', *options)
    half = as_arguments({'train_dataloader.batch_size': 32})
    run(
        *(REPO / 'tools' / 'dist_train.sh', 'unchanged.py', '2', '--work-dir', 'two'),
        *(*options, *half),
        cwd=cwd,
        env={**with_tests(), **free_port()},
    )
    alone, together = (load(cwd / name / 'epoch_2.pth') for name in ('one', 'two'))
    assert together['meta']['iter'] == alone['meta']['iter'] == 4
    assert_same(together['state_dict'], alone['state_dict'], atol=1e-6)
    first = load(cwd / 'one' / 'epoch_1.pth')['state_dict']
    moved = [
        name
        for name in first
        if not torch.equal(first[name], alone['state_dict'][name])
    ]
    assert moved == ['head.fc.weight', 'head.fc.bias']
    for metric in ('accuracy/top1', 'accuracy/top5'):
        assert scalars(cwd / 'two', metric) == scalars(cwd / 'one', metric)
