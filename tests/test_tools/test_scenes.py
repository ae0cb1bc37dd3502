"""The small segmentors on drawn scenes, and what can go wrong with them."""

import csv
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_lines import (
    CONFIGS,
    EXPORT,
    REPO,
    TEST,
    TRAIN,
    assert_same,
    attempt,
    call,
    free_port,
    last_words,
    load,
    metrics_of,
    run,
    scalars,
)
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.datasets import CityscapesDataset
from PIL import Image
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.transforms.functional import normalize

from mmkd_logit.apis import load_segmentors, segment
from mmkd_logit.registry import MODELS

WIDE = CONFIGS / 'baseline' / 'fcn-r18w16_scenes.py'
PLAIN = CONFIGS / 'baseline' / 'fcn-r18w8_scenes.py'
DHKD = CONFIGS / 'dhkd' / 'fcn-r18w16_fcn-r18w8_scenes.py'
KD = CONFIGS / 'kd' / 'fcn-r18w16_fcn-r18w8_scenes.py'
PLOT = (sys.executable, REPO / 'tools' / 'analysis_tools' / 'plot_segmentations.py')
ITERATIONS = 4

STOPS = f"""
_base_ = {str(DHKD)!r}
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', end=2, by_epoch=False)]
"""
# Ranks take turns: the images of even number are those of rank 0.
RANKS = f"""
_base_ = {str(DHKD)!r}
custom_imports = dict(imports=['record_hook'])
custom_hooks = [dict(type='RecordHook')]
# Mean over all pixels, and over those that are not ignored.
loss_decode = [
    dict(type='CrossEntropyLoss', loss_name='loss_all'),
    dict(type='CrossEntropyLoss', loss_name='loss_valid', avg_non_ignore=True),
]
model = dict(student=dict(decode_head=dict(loss_decode=loss_decode)))
train_dataloader = dict(
    batch_size=2,
    sampler=dict(shuffle=False),
    dataset=dict(data_root='uneven', pipeline=_base_.test_pipeline),
)
"""
RECORD_HOOK = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RecordHook(Hook):
    steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        labels = [each.gt_sem_seg.data for each in data_batch['data_samples']]
        valid = sum(int((label != 255).sum()) for label in labels)
        self.steps.append(
            {'valid': valid, **{key: float(outputs[key]) for key in outputs}}
        )

    def after_train(self, runner):
        weights = dict(runner.model.module.named_parameters())
        record = {'steps': self.steps, 'weights': weights}
        torch.save(record, f'rank{get_rank()}.pth')
"""


def train(config: Path | str, cwd: Path, *options: str) -> Path:
    """Train for a few iterations, validating at the middle; return the work dir."""
    work_dir = f'{Path(config).parent.name or "child"}_{Path(config).stem}'
    run(*TRAIN, config, '--work-dir', work_dir, *train_options(*options), cwd=cwd)
    return cwd / work_dir


def train_options(*options: str) -> list[str]:
    return [
        '--cfg-options',
        f'train_cfg.max_iters={ITERATIONS}',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        *options,
    ]


def options_of(teacher: Path) -> tuple[str, str]:
    return (
        f'model.teacher.checkpoint={teacher}',
        'default_hooks.teacher_check.minimum=0',
    )


@pytest.fixture(scope='module')
def cwd(
    make_scenes: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with scenes where the configs look for them."""
    cwd = tmp_path_factory.mktemp('scenes')
    make_scenes(cwd / 'data' / 'scenes', {'train': 16, 'val': 4})
    return cwd


@pytest.fixture(scope='module')
def wide(cwd: Path) -> Path:
    """Checkpoint of the teacher after a few iterations."""
    return train(WIDE, cwd) / f'iter_{ITERATIONS}.pth'


@pytest.fixture(scope='module')
def plain(cwd: Path) -> Path:
    """Work dir of the student trained without a teacher."""
    return train(PLAIN, cwd)


@pytest.fixture(scope='module')
def dhkd(cwd: Path, wide: Path) -> Path:
    """Work dir of a DHKD student."""
    return train(DHKD, cwd, *options_of(wide))


@pytest.fixture(scope='module')
def kd(cwd: Path, wide: Path) -> Path:
    """Work dir of a KD student."""
    return train(KD, cwd, *options_of(wide))


@pytest.mark.parametrize('method', ['dhkd', 'kd'])
def test_log(
    method: str, plain: Path, wide: Path, request: pytest.FixtureRequest
) -> None:
    work_dir = request.getfixturevalue(method)
    distillation = scalars(work_dir, f'loss_{method}')
    task = scalars(work_dir, 'decode.loss_ce')

    assert len(distillation) == len(task) == ITERATIONS
    assert all(0 < loss < 10 for loss in distillation)
    sums = [sum(parts) for parts in zip(distillation, task)]
    assert scalars(work_dir, 'loss') == pytest.approx(sums, rel=1e-5)
    agreement = scalars(work_dir, 'teacher_agreement')
    assert len(agreement) == ITERATIONS
    assert all(0 <= share <= 1 for share in agreement)
    # The metric has the name that it has without a teacher.
    assert len(scalars(work_dir, 'mIoU')) == len(scalars(plain, 'mIoU')) == 2
    # The teacher is as good in the distiller as it was in its own training.
    of_teacher = scalars(wide.parent, 'mIoU')[-1]
    assert of_teacher > 1
    assert scalars(work_dir, 'teacher/mIoU') == [of_teacher]


def test_exported_student_is_the_plain_student(
    cwd: Path, dhkd: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load(dhkd / 'student_last.pth')['state_dict']
    model = MODELS.build({'_scope_': 'mmseg', **Config.fromfile(PLAIN).model})

    assert list(weights) == list(model.state_dict())
    assert list(weights) == list(load(plain / f'iter_{ITERATIONS}.pth')['state_dict'])
    model.load_state_dict(weights, strict=True)
    metrics = metrics_of(PLAIN, dhkd / 'student_last.pth', cwd=cwd)
    assert set(metrics) == {'aAcc', 'mIoU', 'mAcc'}
    assert metrics == {key: scalars(dhkd, key)[-1] for key in metrics}
    monkeypatch.chdir(cwd)
    refused = last_words('test', PLAIN, dhkd / 'student_last.pth', '--tta')
    assert 'has no tta_model and no tta_pipeline' in refused


def test_distillation_stops_after_an_iteration(
    cwd: Path, wide: Path, dhkd: Path
) -> None:
    (cwd / 'stops.py').write_text(STOPS)
    stopped = train('stops.py', cwd, *options_of(wide))

    losses = scalars(stopped, 'loss_dhkd')
    assert losses[:2] == scalars(dhkd, 'loss_dhkd')[:2]
    assert losses[2:] == [0] * (ITERATIONS - 2)
    assert len(scalars(stopped, 'teacher_agreement')) == 2
    task = scalars(stopped, 'decode.loss_ce')
    assert scalars(stopped, 'loss')[2:] == task[2:]
    assert len(set(task)) == ITERATIONS
    same, after = (load(stopped / f'iter_{i}.pth')['state_dict'] for i in (2, 4))
    assert_same(same, load(dhkd / 'iter_2.pth')['state_dict'])
    weight = 'student.decode_head.conv_seg.weight'
    assert (after[weight] - same[weight]).abs().max() > 1e-4


@pytest.fixture(scope='module')
def uneven(cwd: Path, make_scenes: Callable[..., None]) -> Path:
    """Scenes of odd number have no labels at first, then a few rows of them."""
    root = cwd / 'uneven'
    make_scenes(root, {'train': 8})
    files = sorted((root / 'gtFine' / 'train' / 'town').glob('*.png'))
    for index, file in enumerate(files):
        if index % 2 == 1:
            labels = np.array(Image.open(file))
            labels[0 if index < 4 else 10 :] = 255
            Image.fromarray(labels).save(file)
    return root


def test_ranks_with_different_numbers_of_pixels(
    cwd: Path, wide: Path, uneven: Path
) -> None:
    (cwd / 'ranks.py').write_text(RANKS)
    (cwd / 'record_hook.py').write_text(RECORD_HOOK)
    path = [str(cwd), os.environ.get('PYTHONPATH')]
    run(
        *(REPO / 'tools' / 'dist_train.sh', 'ranks.py', '2', '--work-dir', 'ranks'),
        *train_options(*options_of(wide), 'train_cfg.max_iters=2'),
        cwd=cwd,
        env={**free_port(), 'PYTHONPATH': os.pathsep.join(filter(None, path))},
    )
    ranks = [load(cwd / f'rank{rank}.pth') for rank in range(2)]

    steps = [rank['steps'] for rank in ranks]
    assert [len(of_rank) for of_rank in steps] == [2, 2]
    assert steps[0][0]['valid'] > 30000
    assert steps[1][0]['valid'] == 0
    assert 0 < steps[1][1]['valid'] <= 2 * 10 * 192 < steps[0][1]['valid']
    for step in (*steps[0], *steps[1]):
        assert all(np.isfinite(value) for value in step.values())
        for loss in ('loss_dhkd', 'decode.loss_all', 'decode.loss_valid'):
            assert (step[loss] > 0) == (step['valid'] > 0)
    assert_same(ranks[1]['weights'], ranks[0]['weights'])
    trained = load(cwd / 'ranks' / 'iter_2.pth')['state_dict']
    for name, value in ranks[0]['weights'].items():
        assert torch.equal(value, trained[name])


@pytest.mark.parametrize(
    ('config', 'option', 'folder'),
    [
        (
            DHKD,
            'train_dataloader.dataset.data_root=nowhere',
            'nowhere/leftImg8bit/train',
        ),
        (
            PLAIN,
            'val_dataloader.dataset.data_prefix.img_path=leftImg8bit/nowhere',
            'data/scenes/leftImg8bit/nowhere',
        ),
    ],
    ids=['train', 'val'],
)
def test_missing_data_folder(
    config: Path, option: str, folder: str, cwd: Path, wide: Path
) -> None:
    options = options_of(wide) if config == DHKD else ()
    command = (*TRAIN, config, '--work-dir', 'missing')
    result = attempt(*command, *train_options(*options, option), cwd=cwd)

    assert result.returncode == 2
    error = result.stdout.splitlines()[-1]
    start = f"train.py: error: {config}: The data folder '{folder}' of "
    assert error.startswith(start)
    assert f'(looked in {cwd}). Put the data there, or set ' in error
    assert 'Iter(train)' not in result.stdout


CLASSES = CityscapesDataset.METAINFO['classes']


@pytest.mark.parametrize(
    ('classes', 'message', 'remedy'),
    [
        (
            ('road', 'building', 'sidewalk', *CLASSES[3:]),
            "2 have another name, the first being class 1, 'building' there and "
            "'sidewalk' here.",
            "Set teacher.class_map='names'",
        ),
        (
            tuple(f'organ {i}' for i in range(19)),
            "19 have another name, the first being class 0, 'organ 0' there and "
            "'road' here.",
            'Use a teacher trained on these classes in this order',
        ),
    ],
    ids=['another order', 'other classes'],
)
def test_teacher_of_other_classes_is_refused(
    classes: tuple[str, ...],
    message: str,
    remedy: str,
    cwd: Path,
    wide: Path,
    tmp_path: Path,
) -> None:
    checkpoint = load(wide)
    assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES
    checkpoint['meta']['dataset_meta']['classes'] = classes
    torch.save(checkpoint, tmp_path / 'teacher.pth')
    result = attempt(
        *(*TRAIN, DHKD, '--work-dir', tmp_path),
        *train_options(*options_of(tmp_path / 'teacher.pth')),
        cwd=cwd,
    )

    assert result.returncode == 2
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f'train.py: error: {DHKD}: The 19 classes of teacher ')
    assert message in last
    assert remedy in last
    assert 'Iter(train)' not in result.stdout


def test_a_picture_of_images_of_different_sizes(
    cwd: Path, wide: Path, tmp_path: Path
) -> None:
    for part in ('leftImg8bit', 'gtFine'):
        folder = tmp_path / 'mixed' / part / 'val' / 'town'
        shutil.copytree(cwd / 'data' / 'scenes' / part / 'val' / 'town', folder)
        first = sorted(folder.glob('*.png'))[0]
        with Image.open(first) as image:
            image.crop((0, 0, 100, 90)).save(first)
    config = tmp_path / 'mixed.py'
    config.write_text(
        f'_base_ = {str(WIDE)!r}\n'
        'test_dataloader = dict(dataset=dict(data_root="mixed"))\n'
    )
    run(*PLOT, 'out.png', '--model', 'teacher', config, wide, cwd=tmp_path)
    assert (tmp_path / 'out.png').stat().st_size > 10_000
    for arguments, message in (
        (('--images', '0', '99'), '--images [99]: the test set has the images 0 to 3.'),
        (('--model', 'x', CONFIGS / 'baseline' / 'res8_digits.py', 'no.pth'), 'no.pth'),
    ):
        result = attempt(
            *(*PLOT, 'out2.png', '--model', 'teacher', config, wide, *arguments),
            cwd=tmp_path,
        )
        assert result.returncode == 2
        assert message in result.stdout.splitlines()[-1]


def test_a_checkpoint_runs_no_code_in_any_tool(
    cwd: Path, wide: Path, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / 'ran'),)

    torch.save({**load(wide), 'bomb': Bomb()}, tmp_path / 'bomb.pth')
    bomb = tmp_path / 'bomb.pth'
    for command in (
        (*PLOT, 'out.png', '--model', 'teacher', WIDE, bomb),
        (*TEST, WIDE, bomb),
        (*TRAIN, WIDE, '--work-dir', tmp_path, '--resume', bomb),
        (*EXPORT, bomb, tmp_path / 'student.pth'),
    ):
        result = attempt(*command, cwd=cwd)
        assert result.returncode == 2
        assert 'mkdir besides its weights' in result.stdout.splitlines()[-1]
        assert not (tmp_path / 'ran').exists()


def test_plot_segmentations(cwd: Path, dhkd: Path, wide: Path) -> None:
    distiller = dhkd / f'iter_{ITERATIONS}.pth'
    run(
        *(*PLOT, 'out.png', '--images', '0', '3'),
        *('--model', 'teacher', WIDE, wide),
        *('--model', 'student', PLAIN, dhkd / 'student_last.pth'),
        *('--model', 'distilled', DHKD, distiller),
        cwd=cwd,
    )
    assert (cwd / 'out.png').stat().st_size > 10_000
    with Image.open(cwd / 'out.png') as picture:
        pixels = np.asarray(picture.convert('RGB'))
    assert pixels.shape[1] > pixels.shape[0] / 2
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_the_teacher_of_a_distiller(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever library it is of, what it predicts is drawn."""
    monkeypatch.chdir(cwd)
    init_default_scope('mmseg')
    random = MODELS.build(Config.fromfile(WIDE).model)
    torch.nn.init.normal_(random.decode_head.conv_seg.weight)
    torch.save(random.state_dict(), 'random.pth')
    network = lraspp_mobilenet_v3_large(num_classes=19, weights_backbone=None)
    # Logits that differ from pixel to pixel, however deep the network.
    for value in network.parameters():
        fan_in = value[0].numel() if value.ndim > 1 else 1
        torch.nn.init.normal_(value, std=1.5 * fan_in**-0.5)
    torch.save(network.state_dict(), 'lraspp.pth')
    of_torchvision = dict(
        _delete_=True,
        torchvision='lraspp_mobilenet_v3_large',
        checkpoint='lraspp.pth',
        options=dict(num_classes=19),
    )
    for name, teacher in (
        ('own.py', dict(checkpoint='random.pth')),
        ('other.py', of_torchvision),
    ):
        Path(name).write_text(
            f'_base_ = {str(KD)!r}\nmodel = dict(teacher={teacher!r})\n'
        )
    models = [
        ('wide', str(WIDE), 'random.pth'),
        ('own', 'own.py', 'teacher'),
        ('other', 'other.py', 'teacher'),
    ]
    loaded, dataset = load_segmentors(models)
    sample = dataset[1]
    found = {label: segment(model, sample) for label, model in loaded.items()}
    assert np.array_equal(found['own'], found['wide'])
    assert len(np.unique(found['own'])) > 3
    # As torchvision does it.
    image = sample['inputs'].flip(0)[None] / 255
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        maps = network.eval()(normalize(image, mean, std))['out']
    expected = maps[0].argmax(0).numpy()
    assert found['other'].shape == expected.shape == (96, 192)
    assert len(np.unique(expected)) > 3
    assert (found['other'] == expected).mean() > 0.99
    arguments = [word for model in models for word in ('--model', *model)]
    call('analysis_tools/plot_segmentations', 'three.png', '--images', '1', *arguments)
    assert Path('three.png').stat().st_size > 10_000
    with pytest.raises(ValueError, match='asks for the teacher of .* has none'):
        load_segmentors([('a', str(PLAIN), 'teacher')])


def test_plot_class_iou(cwd: Path, dhkd: Path, wide: Path) -> None:
    models = (
        *('--model', 'teacher', WIDE, wide),
        *('--model', 'student', PLAIN, dhkd / 'student_last.pth'),
        *('--model', 'distilled', DHKD, dhkd / f'iter_{ITERATIONS}.pth'),
    )
    tool = REPO / 'tools' / 'analysis_tools' / 'plot_class_iou.py'
    result = run(sys.executable, tool, 'classes.png', *models, cwd=cwd)
    assert (cwd / 'classes.png').stat().st_size > 10_000
    with (cwd / 'classes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {row['by'] for row in rows} == {'class', 'boundary', 'size'}
    tested = metrics_of(PLAIN, dhkd / 'student_last.pth', cwd=cwd)['mIoU']
    # Both are the same student.
    for label in ('student', 'distilled'):
        own = [float(row['%']) for row in rows if row['label'] == label]
        ious = [value for value in own[:19] if value == value]
        assert sum(ious) / len(ious) == pytest.approx(tested, abs=0.01)
        assert f'{label}: mIoU {sum(ious) / len(ious):.2f}' in result.stdout
    gains = [float(row['gain']) for row in rows if row['label'] == 'distilled']
    assert not any(gain for gain in gains if gain == gain)


def test_compare_models(cwd: Path, dhkd: Path, wide: Path) -> None:
    compare = REPO / 'tools' / 'analysis_tools' / 'compare_models.py'
    student = ('--model', 'student', PLAIN, dhkd / 'student_last.pth')
    result = run(
        *(sys.executable, compare, 'compared.png', '--model', 'teacher', WIDE, wide),
        *(*student, '--model', 'itself', WIDE, wide),
        cwd=cwd,
    )
    assert '20000 pixels; agreement, tau and KL with teacher' in result.stdout
    assert (cwd / 'compared.png').stat().st_size > 10_000
    with (cwd / 'compared.csv').open() as file:
        rows = {row.pop('label'): row for row in csv.DictReader(file)}
    tested = metrics_of(PLAIN, dhkd / 'student_last.pth', cwd=cwd)
    for column, key in (('mIoU, %', 'mIoU'), ('accuracy, %', 'aAcc')):
        assert float(rows['student'][column]) == pytest.approx(tested[key], abs=0.01)
        assert rows['itself'][column] == rows['teacher'][column]
    weights = MODELS.build({'_scope_': 'mmseg', **Config.fromfile(PLAIN).model})
    count = sum(
        each.numel()
        for name, each in weights.named_parameters()
        if 'auxiliary' not in name
    )
    assert float(rows['student']['params, M']) == pytest.approx(count / 1e6)
    assert rows['teacher']['tau'] == rows['teacher']['KL'] == ''
    same = {key: float(rows['itself'][key]) for key in ('agreement, %', 'tau', 'KL')}
    # Tied logits keep the tau of a pixel with itself below 1.
    near_one, near_zero = (pytest.approx(x, abs=y) for x, y in ((1, 1e-4), (0, 1e-6)))
    assert same == {'agreement, %': 100, 'tau': near_one, 'KL': near_zero}
    assert 0 < float(rows['student']['agreement, %']) < 100
    assert float(rows['student']['KL']) > 0

    result = attempt(*(sys.executable, compare, 'no.png', *student), cwd=cwd)
    assert result.returncode == 2
    message = 'name at least the teacher and a plain student'
    assert message in result.stdout.splitlines()[-1]
