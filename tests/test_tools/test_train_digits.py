"""A student on digits, from the training of the teacher to the exported file."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from command_lines import (
    CONFIGS,
    EXPORT,
    TEST,
    TRAIN,
    assert_same,
    attempt,
    load,
    metrics_of,
    run,
    scalars,
)
from mmengine.config import Config

from mmkd_logit.registry import MODELS

PLAIN = CONFIGS / 'baseline' / 'res8_digits.py'
DHKD = CONFIGS / 'dhkd' / 'res20_res8_digits.py'
ALIGNED = CONFIGS / 'dhkd' / 'res20_res8_digits_ga.py'
KD = CONFIGS / 'kd' / 'res20_res8_digits.py'
EPOCHS = 3


def train(config: Path, cwd: Path, *options: str) -> Path:
    """Train for a few epochs, validating after each; return the work dir."""
    run(
        *(*TRAIN, config, '--work-dir', 'work', '--cfg-options'),
        *(f'train_cfg.max_epochs={EPOCHS}', 'train_cfg.val_interval=1', *options),
        cwd=cwd,
    )
    return cwd / 'work'


def options_of(teacher: Path) -> tuple[str, str]:
    return (
        f'model.teacher.checkpoint={teacher}',
        'default_hooks.teacher_check.minimum=0',
    )


def plain_student() -> torch.nn.Module:
    cfg = Config.fromfile(PLAIN)
    return MODELS.build({'_scope_': 'mmpretrain', **cfg.model})


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of the student trained without a teacher."""
    return train(PLAIN, tmp_path_factory.mktemp('plain'))


@pytest.fixture(scope='module')
def dhkd(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of a DHKD student whose teacher has been deleted since."""
    cwd = tmp_path_factory.mktemp('dhkd')
    gone = shutil.copy(teacher, cwd)
    save_best = 'default_hooks.checkpoint.save_best=auto'
    work_dir = train(DHKD, cwd, *options_of(gone), save_best)
    Path(gone).unlink()
    return work_dir


@pytest.fixture(scope='module')
def kd(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of a KD student."""
    return train(KD, tmp_path_factory.mktemp('kd'), *options_of(teacher))


def last_lines(output: str) -> dict[str, str]:
    """What a tool says at its end, by what it is about."""
    lines = output.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith('the '))
    return dict(line.split(': ', 1) for line in lines[first:])


def type_in(command: str, cwd: Path) -> str:
    """Run a proposed command with this Python, at the place of the tools."""
    program, *words = shlex.split(command)
    assert program == 'python'
    return run(sys.executable, *words, cwd=cwd).stdout


def test_the_last_lines_tell_how_to_go_on(tmp_path: Path) -> None:
    """Of a run that was resumed too: all that it names is there, and runs."""
    config = tmp_path / 'mine.py'
    config.write_text(
        f'_base_ = {str(KD)!r}\n'
        'model = dict(teacher=dict(checkpoint=None))\n'
        'default_hooks = dict(teacher_check=dict(minimum=0.0))\n'
        'train_cfg = dict(max_epochs=1, val_interval=1)\n'
        'param_scheduler = dict(milestones=[1])\n'
    )
    first = last_lines(run(*TRAIN, 'mine.py', cwd=tmp_path).stdout)
    work_dir = Path('work_dirs') / tmp_path.name / 'mine'
    assert first['the student'] == str(work_dir / 'student_last.pth')
    assert first['to train on several seeds'].endswith(' mine.py --seeds 0 1 2')
    for name in ('the student', 'its log', 'the picture'):
        assert (tmp_path / first[name]).is_file()
    (tmp_path / first['the picture']).unlink()

    options = '--resume', '--cfg-options', 'train_cfg.max_epochs=2'
    resumed = run(*TRAIN, 'mine.py', *options, cwd=tmp_path).stdout
    assert 'resumed epoch: 1' in resumed
    again = last_lines(resumed)
    # Other seeds would lack the options.
    assert set(first) - set(again) == {'to train on several seeds'}
    assert again['its log'] != first['its log']
    assert 'Epoch(train) [2]' in (tmp_path / again['its log']).read_text()
    assert (tmp_path / again['the picture']).is_file()
    accuracy = f'{scalars(tmp_path / work_dir, "accuracy/top1")[-1]:.4f}'
    assert f'accuracy/top1: {accuracy}' in type_in(again['to test it'], tmp_path)
    type_in(again['to run it without torch'], tmp_path)
    assert (tmp_path / work_dir / 'student_last.onnx').is_file()


@pytest.mark.parametrize('method', ['dhkd', 'kd'])
def test_log(
    method: str, plain: Path, teacher: Path, request: pytest.FixtureRequest
) -> None:
    work_dir = request.getfixturevalue(method)
    losses = scalars(work_dir, f'loss_{method}')
    agreement = scalars(work_dir, 'teacher_agreement')
    accuracy = scalars(work_dir, 'accuracy/top1')

    # Two lines per epoch of 21 iterations, one every ten.
    assert len(losses) == len(agreement) == 2 * EPOCHS
    assert all(0 < loss < 10 for loss in losses)
    assert all(0 <= share <= 1 for share in agreement)
    assert agreement[-1] > max(agreement[0], 0.3)
    # The metric has the name that it has without a teacher.
    assert len(accuracy) == len(scalars(plain, 'accuracy/top1')) == EPOCHS
    assert accuracy[-1] > 30
    # The teacher is as good in the distiller as it was in its own training.
    of_teacher = scalars(teacher.parent, 'accuracy/top1')[-1]
    assert scalars(work_dir, 'teacher/accuracy/top1') == [of_teacher]


def test_exported_student_is_the_plain_student(dhkd: Path) -> None:
    weights = load(dhkd / 'student_last.pth')['state_dict']
    model = plain_student()

    assert list(weights) == list(model.state_dict())
    model.load_state_dict(weights, strict=True)
    accuracy = metrics_of(PLAIN, dhkd / 'student_last.pth', cwd=dhkd)
    distillers = metrics_of(DHKD, dhkd / f'epoch_{EPOCHS}.pth', cwd=dhkd)
    assert accuracy == distillers
    assert accuracy['accuracy/top1'] == scalars(dhkd, 'accuracy/top1')[-1]


def test_exported_student_is_read_without_running_code(dhkd: Path) -> None:
    student = torch.load(dhkd / 'student_last.pth', weights_only=True)

    assert list(student) == ['meta', 'state_dict']
    assert student['meta']['epoch'] == EPOCHS
    assert student['meta']['dataset_meta']['classes'] == tuple('0123456789')


def test_plain_config_refuses_checkpoint_of_distiller(dhkd: Path) -> None:
    checkpoint = dhkd / f'epoch_{EPOCHS}.pth'
    result = attempt(*TEST, PLAIN, checkpoint, cwd=dhkd)

    assert result.returncode == 2
    assert f'{checkpoint} does not fit the model ImageClassifier' in result.stdout
    assert 'in the model only: backbone.conv1.weight' in result.stdout
    last = result.stdout.splitlines()[-1]
    assert 'Export its student with tools/model_converters/export_student.py' in last


def test_the_checkpoint_that_is_named_is_tested(dhkd: Path, tmp_path: Path) -> None:
    """Also with the config that a resumed run has dumped."""
    accuracy = scalars(dhkd, 'accuracy/top1')
    assert accuracy[0] != accuracy[-1]
    config = tmp_path / 'dumped.py'
    config.write_text(
        f'_base_ = {str(DHKD)!r}\nresume = True\nwork_dir = {str(dhkd)!r}\n'
    )
    first = shutil.copy(dhkd / f'epoch_{EPOCHS}.pth', tmp_path / 'named.pth')
    weights = load(Path(first))
    weights['state_dict']['student.head.fc.weight'].zero_()
    weights['state_dict']['student.head.fc.bias'].zero_()
    torch.save(weights, first)
    got = metrics_of(config, Path(first), cwd=tmp_path)
    assert got['accuracy/top1'] < 20 < accuracy[-1]


def test_metrics_go_where_they_can_be_written(dhkd: Path, tmp_path: Path) -> None:
    """It is said before the test, not after it."""
    for out, message in (
        ('x.txt', "'x.txt' must end with .json or .yaml"),
        ('nowhere/x.json', 'the folder nowhere does not exist'),
    ):
        result = attempt(
            *(*TEST, PLAIN, dhkd / 'student_last.pth', '--out', out), cwd=tmp_path
        )
        assert result.returncode == 2
        assert message in result.stdout.splitlines()[-1]


def test_no_run_is_resumed_from_an_exported_student(dhkd: Path) -> None:
    student = dhkd / 'student_last.pth'
    result = attempt(*TRAIN, PLAIN, '--resume', student, cwd=dhkd)
    assert result.returncode == 2
    last = result.stdout.splitlines()[-1]
    assert f'{student} holds no message_hub' in last
    assert f'--cfg-options load_from={student} without --resume' in last


def test_export_student(dhkd: Path, tmp_path: Path) -> None:
    result = run(*EXPORT, dhkd / f'epoch_{EPOCHS}.pth', 'student.pth', cwd=tmp_path)

    by_tool, by_hook = load(tmp_path / 'student.pth'), load(dhkd / 'student_last.pth')
    assert_same(by_tool['state_dict'], by_hook['state_dict'])
    assert f'{len(by_hook["state_dict"])} tensors' in result.stdout
    config = (tmp_path / 'student.py').read_text()
    assert config == (dhkd / 'student.py').read_text()
    assert config.startswith('# The plain student of a distillation; it needs mmkd_l')
    assert (
        Config.fromfile(tmp_path / 'student.py').model == Config.fromfile(PLAIN).model
    )
    assert 'TeacherCheckHook' not in config and 'LogitDistiller' not in config
    again = attempt(*EXPORT, 'student.pth', 'again.pth', cwd=tmp_path)
    assert again.returncode == 2
    assert 'These are not the weights of a distiller' in again.stdout
    assert not (tmp_path / 'again.pth').exists()


def test_student_best(dhkd: Path) -> None:
    accuracy = scalars(dhkd, 'accuracy/top1')
    epoch = 1 + accuracy.index(max(accuracy))
    best = load(dhkd / f'best_accuracy_top1_epoch_{epoch}.pth')['state_dict']
    student = load(dhkd / 'student_best.pth')

    assert student['meta']['epoch'] == epoch
    for name, value in student['state_dict'].items():
        assert torch.equal(value, best[f'student.{name}'])


def test_student_holds_averaged_weights(teacher: Path, tmp_path: Path) -> None:
    config = tmp_path / 'ema.py'
    config.write_text(
        f"_base_ = {str(DHKD)!r}\ncustom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
    )
    work_dir = train(config, tmp_path, *options_of(teacher))
    run(*EXPORT, work_dir / f'epoch_{EPOCHS}.pth', 'student.pth', cwd=tmp_path)

    student = load(work_dir / 'student_last.pth')['state_dict']
    checkpoint = load(work_dir / f'epoch_{EPOCHS}.pth')
    # mmengine keeps the weights that it trains under the name of the averaged ones.
    trained = checkpoint['ema_state_dict']['module.student.head.fc.weight']
    averaged = checkpoint['state_dict']['student.head.fc.weight']
    assert not torch.allclose(trained, averaged, atol=1e-4)
    assert torch.equal(student['head.fc.weight'], averaged)
    assert_same(load(tmp_path / 'student.pth')['state_dict'], student)
    assert metrics_of(PLAIN, work_dir / 'student_last.pth', cwd=tmp_path) == {
        'accuracy/top1': scalars(work_dir, 'accuracy/top1')[-1]
    }


def test_gradient_alignment(teacher: Path, tmp_path: Path) -> None:
    config = tmp_path / 'conflict.py'
    config.write_text(
        f'_base_ = {str(ALIGNED)!r}\n'
        "custom_hooks = [dict(type='mmkd_logit.GradientConflictHook', interval=10)]\n"
    )
    work_dir = train(config, tmp_path, *options_of(teacher))

    assert all(0 < loss < 10 for loss in scalars(work_dir, 'loss_dhkd'))
    assert scalars(work_dir, 'accuracy/top1')[-1] > 30
    for part in ('backbone', 'layer1', 'layer2', 'layer3'):
        cosines = scalars(work_dir, f'grad_cos/{part}')
        assert len(cosines) == 21 * EPOCHS // 10
        conflicts = sum(cosine < 0 for cosine in cosines)
        share = scalars(work_dir, f'grad_conflict/{part}')[-1]
        assert share == conflicts / len(cosines)
    # DHKD keeps the distillation loss away from the classifier.
    assert not scalars(work_dir, 'grad_cos/classifier')


def test_checkpoint_holds_student_and_head_only(dhkd: Path, plain: Path) -> None:
    name = f'epoch_{EPOCHS}.pth'
    checkpoint = load(dhkd / name)
    head = {
        key: value
        for key, value in checkpoint['state_dict'].items()
        if not key.startswith('student.')
    }

    assert list(head) == ['aux_head.fc.weight', 'aux_head.fc.bias']
    assert len(checkpoint['optimizer']['state']) == 2 + len(
        load(plain / name)['optimizer']['state']
    )
    # The head has weights and momentum.
    size = 2 * sum(value.nbytes for value in head.values())
    most = (plain / name).stat().st_size + size + 32 * 1024
    assert (dhkd / name).stat().st_size <= most
