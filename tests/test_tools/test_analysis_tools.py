"""The pictures of quickly trained digits, and that their numbers are right."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_lines import CONFIGS, REPO, TRAIN, attempt, free_port, load, run, scalars
from mmengine.config import Config
from PIL import Image
from scipy.special import log_softmax, softmax
from scipy.stats import kendalltau

from mmkd_logit.datasets import Digits
from mmkd_logit.functional import neural_collapse
from mmkd_logit.registry import MODELS

TEACHER = CONFIGS / 'baseline' / 'res20_digits.py'
PLAIN = CONFIGS / 'baseline' / 'res8_digits.py'
DHKD = CONFIGS / 'dhkd' / 'res20_res8_digits.py'
DIST_TRAIN = REPO / 'tools' / 'dist_train.sh'
EPOCHS = 2


def tool(name: str) -> tuple[str | Path, ...]:
    return sys.executable, REPO / 'tools' / 'analysis_tools' / f'{name}.py'


def options(*more: str) -> list[str]:
    return [
        '--cfg-options',
        f'train_cfg.max_epochs={EPOCHS}',
        'train_cfg.val_interval=1',
        *more,
    ]


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the work dirs of two seeds of the plain student."""
    cwd = tmp_path_factory.mktemp('plain')
    for seed in '01':
        set_seed = options(f'randomness.seed={seed}')
        run(*TRAIN, PLAIN, '--work-dir', f'seed{seed}', *set_seed, cwd=cwd)
    return cwd


@pytest.fixture(scope='module')
def watched(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of a DHKD student, trained by two processes and watched."""
    cwd = tmp_path_factory.mktemp('watched')
    run(
        *(DIST_TRAIN, DHKD, '2', '--work-dir', 'work'),
        *options(
            f'model.teacher.checkpoint={teacher}',
            'default_hooks.teacher_check.minimum=0',
            'default_hooks.watch.type=mmkd_logit.NeuralCollapseHook',
        ),
        cwd=cwd,
        env=free_port(),
    )
    return cwd / 'work'


@pytest.fixture(scope='module')
def models(teacher: Path, plain: Path, watched: Path) -> list[str | Path]:
    """The arguments that name three models."""
    return [
        *('--model', 'teacher', TEACHER, teacher),
        *('--model', 'plain', PLAIN, plain / 'seed0' / f'epoch_{EPOCHS}.pth'),
        *('--model', 'distilled', DHKD, watched / f'epoch_{EPOCHS}.pth'),
    ]


@torch.no_grad()
def outputs(
    config: Path, checkpoint: Path, split: str = 'test'
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, logits, labels and weight, by another way than the tools go."""
    cfg = Config.fromfile(config)
    model = MODELS.build(cfg.model)
    weights = load(checkpoint)['state_dict']
    model.load_state_dict({k.removeprefix('student.'): v for k, v in weights.items()})
    model.eval()
    dataset = Digits(split)
    images = torch.tensor(np.stack([item['img'] for item in dataset]))
    inputs = (images.permute(0, 3, 1, 2).float() - 78) / 96
    features = model.extract_feat(inputs, stage='pre_logits')
    labels = torch.tensor(dataset.get_gt_labels())
    return features, model.head.fc(features), labels, model.head.fc.weight


@pytest.fixture(scope='module')
def logits(teacher: Path, plain: Path, watched: Path) -> dict[str, torch.Tensor]:
    """On the test set."""
    return {
        'teacher': outputs(TEACHER, teacher)[1],
        'plain': outputs(PLAIN, plain / 'seed0' / f'epoch_{EPOCHS}.pth')[1],
        'distilled': outputs(PLAIN, watched / 'student_last.pth')[1],
    }


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_picture(path: Path) -> None:
    """There is a picture, small enough for a page, and it is not blank."""
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert('L'))
    assert min(grey.shape) > 200
    assert path.stat().st_size < 150_000
    assert 0.01 < (grey < 200).mean() < 0.7
    assert len(np.unique(grey)) > 20


def test_collapse_of_two_processes(watched: Path) -> None:
    found = outputs(PLAIN, watched / 'student_last.pth', 'train')
    expected = neural_collapse(*found)
    for name, value in expected._asdict().items():
        logged = scalars(watched, f'nc/{name}')
        assert len(logged) == EPOCHS
        assert logged[-1] == pytest.approx(value, rel=1e-3), name


def test_curves_over_seeds(plain: Path, watched: Path) -> None:
    result = run(
        *(*tool('plot_curves'), 'curves.png'),
        *('--run', 'plain student', 'seed0', 'seed1', '--run', 'distilled', watched),
        *('--keys', 'accuracy/top1', 'nc/*'),
        cwd=plain,
    )
    assert 'plain student has not logged nc/nc1' in result.stdout
    assert_picture(plain / 'curves.png')
    rows = read(plain / 'curves.csv')
    first, second = (scalars(plain / f'seed{i}', 'accuracy/top1') for i in (0, 1))
    of_seeds = [row for row in rows if row['label'] == 'plain student']
    assert [row['key'] for row in of_seeds] == ['accuracy/top1'] * EPOCHS
    for i, row in enumerate(of_seeds):
        assert (row['unit'], row['step'], row['runs']) == ('epoch', str(i + 1), '2')
        a, b = first[i], second[i]
        assert float(row['mean']) == pytest.approx((a + b) / 2)
        deviation = float(row['standard deviation'])
        assert deviation == pytest.approx(abs(a - b) / 2**0.5)
    collapse = [float(row['mean']) for row in rows if row['key'] == 'nc/nc1']
    assert collapse == scalars(watched, 'nc/nc1')


def test_curves_of_many_values_in_one_panel(watched: Path, tmp_path: Path) -> None:
    run(
        *(*tool('plot_curves'), 'losses.png', '--run', 'distilled', watched),
        *('--keys', 'loss*', '--panels', 'label', '--average', '2'),
        cwd=tmp_path,
    )
    assert_picture(tmp_path / 'losses.png')
    rows = read(tmp_path / 'losses.csv')
    assert {row['key'] for row in rows} == {'loss', 'loss_task', 'loss_dhkd'}
    values = scalars(watched, 'loss')
    means = [float(row['mean']) for row in rows if row['key'] == 'loss']
    expected = [np.mean(values[i : i + 2]) for i in range(0, len(values), 2)]
    assert means == pytest.approx(expected)
    assert {row['unit'] for row in rows} == {'iteration'}


def test_features(models: list, tmp_path: Path) -> None:
    run(
        *tool('plot_features'),
        'features.png',
        *models,
        '--samples',
        '150',
        cwd=tmp_path,
    )
    assert_picture(tmp_path / 'features.png')
    rows = read(tmp_path / 'features.csv')
    assert len(rows) == 3 * 150
    of_teacher = [row for row in rows if row['label'] == 'teacher']
    points = np.array([[float(row['x']), float(row['y'])] for row in of_teacher])
    labels = np.array([row['class'] for row in of_teacher])
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distance, np.inf)
    # The teacher tells most digits apart, and so does the picture.
    assert (labels[distance.argmin(1)] == labels).mean() > 0.6


def test_correlation(
    models: list, logits: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    result = run(*tool('plot_correlation'), 'classes.png', *models, cwd=tmp_path)
    assert_picture(tmp_path / 'classes.png')
    rows = read(tmp_path / 'classes.csv')
    of_teacher = np.corrcoef(logits['teacher'].numpy(), rowvar=False)
    for name in ('plain', 'distilled'):
        gap = np.abs(np.corrcoef(logits[name].numpy(), rowvar=False) - of_teacher)
        expected = gap[np.triu_indices(10, 1)]
        got = [float(row['difference']) for row in rows if row['label'] == name]
        np.testing.assert_allclose(got, expected, atol=1e-4)
        (mean,) = re.findall(
            f'{name}: mean difference from teacher (.*)', result.stdout
        )
        assert float(mean) == pytest.approx(expected.mean(), abs=1e-4)


def test_comparison(
    models: list, logits: dict[str, torch.Tensor], plain: Path, tmp_path: Path
) -> None:
    result = run(*tool('compare_models'), 'comparison.png', *models, cwd=tmp_path)
    assert_picture(tmp_path / 'comparison.png')
    teacher, *students = read(tmp_path / 'comparison.csv')
    assert [row['label'] for row in students] == ['plain', 'distilled']
    accuracy = scalars(plain / 'seed0', 'accuracy/top1')[-1]
    assert float(students[0]['accuracy, %']) == pytest.approx(accuracy)
    layers = MODELS.build(Config.fromfile(PLAIN).model).parameters()
    millions = sum(each.numel() for each in layers) / 1e6
    assert [float(row['params, M']) for row in students] == [millions] * 2
    assert teacher['agreement, %'] == teacher['tau'] == teacher['KL'] == ''
    labels = np.array(Digits('test').get_gt_labels())
    log_t = log_softmax(logits['teacher'].double().numpy(), axis=1)
    for row in (teacher, *students):
        log_s = log_softmax(logits[row['label']].double().numpy(), axis=1)
        confidence = np.exp(log_s.max(1))
        right = log_s.argmax(1) == labels
        bins = np.ceil(confidence * 15)
        gaps = [abs(np.sum((right - confidence)[bins == i])) for i in range(1, 16)]
        assert float(row['ECE, %']) == pytest.approx(100 * sum(gaps) / 500, abs=1e-2)
        if row is teacher:
            continue
        same = 100 * (log_s.argmax(1) == log_t.argmax(1)).mean()
        kl = (np.exp(log_t) * (log_t - log_s)).sum(1).mean()
        tau = np.mean([kendalltau(a, b).statistic for a, b in zip(log_s, log_t)])
        assert float(row['agreement, %']) == pytest.approx(same)
        assert float(row['KL']) == pytest.approx(kl, rel=1e-3)
        assert float(row['tau']) == pytest.approx(tau, abs=1e-3)
        assert f' {float(row["tau"]):.4f} ' in result.stdout


def test_ranking(models: list, logits: dict[str, torch.Tensor], tmp_path: Path) -> None:
    run(*tool('plot_ranking'), 'ranking.png', '--k', '5', *models, cwd=tmp_path)
    assert_picture(tmp_path / 'ranking.png')
    rows = read(tmp_path / 'ranking.csv')
    # KD's gradient is the difference of the two softened softmaxes.
    t = softmax(logits['teacher'].double().numpy() / 4, axis=1)
    for name in ('plain', 'distilled'):
        s = softmax(logits[name].double().numpy() / 4, axis=1)
        sizes = np.take_along_axis(np.abs(s - t), np.argsort(-t, axis=1), 1).sum(0)
        label = f'KD, tau=4: {name}'
        got = [float(row['share']) for row in rows if row['gradient'] == label]
        np.testing.assert_allclose(got, sizes / sizes.sum(), atol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('out.png', '--run', 'plain'), 'name at least one work dir after the label'),
        (
            ('out.png', '--run', 'a', 'seed0', '--keys', 'top5'),
            "No run has logged 'top5', only lr, loss, accuracy/top1.",
        ),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], message: str, plain: Path) -> None:
    result = attempt(*tool('plot_curves'), *arguments, cwd=plain)
    assert result.returncode != 0
    assert message in result.stdout.splitlines()[-1]
    assert not (plain / 'out.png').exists()
