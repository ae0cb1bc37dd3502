"""The Cityscapes config as it is, on a folder that looks like Cityscapes."""

import importlib.util
import json
import re
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
    TRAIN,
    assert_same,
    free_port,
    load,
    metrics_of,
    run,
    scalars,
)
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS
from PIL import Image

from mmkd_logit.registry import MODELS

DHKD = CONFIGS / 'dhkd' / 'pspnet-r101_pspnet-r18_cityscapes.py'
MCLD = CONFIGS / 'mcld' / 'pspnet-r101_pspnet-r18_cityscapes.py'
MMSEG = Path(importlib.util.find_spec('mmseg').origin).parent / '.mim'
PSPNET = MMSEG / 'configs' / 'pspnet'
R18 = PSPNET / 'pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
R101 = PSPNET / 'pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py'
HEIGHT, WIDTH, IMAGES = 64, 128, 3
SCALE = f'({WIDTH},{HEIGHT})'
CROP = f'({HEIGHT},{WIDTH})'
FIRST, LAST = 3, 5


def data_options(cwd: Path, *splits: str) -> list[str]:
    options = [
        f'{split}_dataloader.{option}'
        for split in splits
        for option in (
            'num_workers=0',
            'persistent_workers=False',
            f'dataset.data_root={cwd / "cityscapes"}',
        )
    ]
    resize = {'train': 2, 'val': 1, 'test': 1}
    return options + [
        f'{split}_dataloader.dataset.pipeline.{resize[split]}.scale={SCALE}'
        for split in splits
    ]


def train_options(cwd: Path, iterations: int) -> list[str]:
    return [
        '--cfg-options',
        *data_options(cwd, 'train', 'val', 'test'),
        f'train_dataloader.dataset.pipeline.3.crop_size={CROP}',
        f'model.student.data_preprocessor.size={CROP}',
        'model.student.pretrained=None',
        f'model.teacher.checkpoint={cwd / "r101.pth"}',
        'default_hooks.teacher_check.minimum=0',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=2',
        'log_processor.window_size=1',
        'train_cfg.val_interval=2',
        f'train_cfg.max_iters={iterations}',
    ]


@pytest.fixture(scope='module')
def cwd(
    make_scenes: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with data and a teacher of random weights."""
    cwd = tmp_path_factory.mktemp('cityscapes')
    make_scenes(cwd / 'cityscapes', {'train': 4, 'val': IMAGES}, HEIGHT, WIDTH)
    torch.manual_seed(1)
    teacher = init_model(R101, device='cpu')
    teacher.init_weights()
    # As the releases of mmseg save it that the published checkpoints come from.
    meta = {key.upper(): value for key, value in CityscapesDataset.METAINFO.items()}
    torch.save({'meta': meta, 'state_dict': teacher.state_dict()}, cwd / 'r101.pth')
    return cwd


@pytest.fixture(scope='module')
def first(cwd: Path) -> Path:
    """Work dir after a few iterations."""
    run(*TRAIN, DHKD, '--work-dir', 'work', *train_options(cwd, FIRST), cwd=cwd)
    return cwd / 'work'


@pytest.fixture(scope='module')
def log(first: Path) -> dict[str, list[float]]:
    """What the first run logged, before it was resumed."""
    (file,) = first.glob('*/vis_data/scalars.json')
    values: dict[str, list[float]] = {}
    for line in map(json.loads, file.read_text().splitlines()):
        for key, value in line.items():
            values.setdefault(key, []).append(value)
    return values


@pytest.fixture(scope='module')
def resumed(cwd: Path, first: Path, log: dict[str, list[float]]) -> Path:
    """The same work dir after two iterations more, in which gradients vanish."""
    options = (
        *train_options(cwd, LAST),
        'optim_wrapper.clip_grad._delete_=True',
        'optim_wrapper.clip_grad.max_norm=1e-12',
    )
    run(*TRAIN, DHKD, '--work-dir', first, '--resume', *options, cwd=cwd)
    return first


@pytest.fixture(scope='module')
def expected(resumed: Path) -> torch.Tensor:
    """Label maps that the distiller's last checkpoint gives to the images."""
    cfg = Config.fromfile(DHKD)
    loader = cfg.test_dataloader
    loader.dataset.data_root = str(resumed.parent / 'cityscapes')
    loader.dataset.pipeline[1].scale = (WIDTH, HEIGHT)
    model = MODELS.build({'_scope_': 'mmseg', **cfg.model}).eval()
    checkpoint = load(resumed / f'iter_{LAST}.pth')
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    dataset = DATASETS.build(loader.dataset)
    with torch.no_grad():
        samples = model.test_step(pseudo_collate([dataset[i] for i in range(IMAGES)]))
    label_maps = torch.stack([sample.pred_sem_seg.data[0] for sample in samples])
    # A student that says one thing everywhere would make comparisons idle.
    assert label_maps.shape == (IMAGES, HEIGHT, WIDTH)
    assert len(label_maps.unique()) > 1
    return label_maps


def files_of(cwd: Path, part: str = 'leftImg8bit') -> list[str]:
    """Images of the validation set, or its label maps."""
    folder = cwd / 'cityscapes' / part / 'val' / 'town'
    return [str(path) for path in sorted(folder.glob('*.png'))]


def mean_iou(label_maps: torch.Tensor, truth: torch.Tensor) -> float:
    """mIoU in percent, over the classes that occur in either."""
    valid = truth != 255
    got, true = label_maps[valid], truth[valid]
    each = [
        ((got == i) & (true == i)).sum() / ((got == i) | (true == i)).sum()
        for i in range(19)
    ]
    return 100 * torch.stack(each).nanmean().item()


def test_log(log: dict[str, list[float]]) -> None:
    for key in ('loss_dhkd', 'decode.loss_ce', 'aux.loss_ce', 'loss'):
        assert len(log[key]) == FIRST
        assert all(0 < loss < 10 for loss in log[key])
    sums = zip(log['loss_dhkd'], log['decode.loss_ce'], log['aux.loss_ce'])
    assert log['loss'] == pytest.approx([sum(parts) for parts in sums], rel=1e-5)
    assert len(log['teacher_agreement']) == FIRST
    assert all(0 <= share <= 1 for share in log['teacher_agreement'])
    # After the second iteration and after the last.
    assert len(log['mIoU']) == 2
    assert all(0 < mean < 100 for mean in log['mIoU'])


def test_teacher_check(cwd: Path, log: dict[str, list[float]]) -> None:
    scale = {'test_pipeline.1.scale': (WIDTH, HEIGHT)}
    teacher = init_model(R101, str(cwd / 'r101.pth'), 'cpu', scale)
    results = inference_model(teacher, files_of(cwd))
    label_maps = torch.stack([result.pred_sem_seg.data[0] for result in results])
    truth = torch.stack(
        [
            torch.as_tensor(np.array(Image.open(path)))
            for path in files_of(cwd, 'gtFine')
        ]
    )

    (of_teacher,) = log['teacher/mIoU']
    assert of_teacher > 0
    assert of_teacher == pytest.approx(
        mean_iou(label_maps, torch.as_tensor(truth)), abs=0.006
    )


def test_resume_goes_on_in_the_middle(resumed: Path) -> None:
    assert scalars(resumed, 'iter') == [FIRST + 1, LAST]
    assert scalars(resumed, 'teacher/mIoU') == []
    assert len(scalars(resumed, 'mIoU')) == 2
    assert load(resumed / f'iter_{LAST}.pth')['meta']['iter'] == LAST
    assert load(resumed / 'student_last.pth')['meta']['iter'] == LAST


def test_resume_keeps_rate_and_momentum(resumed: Path) -> None:
    before, after = (load(resumed / f'iter_{i}.pth') for i in (FIRST, LAST))
    rates = [1e-4 + (0.01 - 1e-4) * (1 - i / 80000) ** 0.9 for i in (FIRST, FIRST + 1)]
    assert scalars(resumed, 'lr') == pytest.approx(rates, rel=1e-6)

    names = [
        name
        for name in before['state_dict']
        if not name.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
    ]
    assert 'aux_head.conv_logit.weight' in names
    assert len(names) == len(before['optimizer']['state'])
    for index, name in enumerate(names):
        value = before['state_dict'][name]
        momentum = before['optimizer']['state'][index]['momentum_buffer']
        # Without gradients, momentum and weight decay move the weights on.
        for rate in rates:
            momentum = 0.9 * momentum + 5e-4 * value
            value = value - rate * momentum
        torch.testing.assert_close(after['state_dict'][name], value)
        torch.testing.assert_close(
            after['optimizer']['state'][index]['momentum_buffer'], momentum
        )


def test_student_best(resumed: Path, log: dict[str, list[float]]) -> None:
    means = log['mIoU'] + scalars(resumed, 'mIoU')
    iteration = [2, FIRST, FIRST + 1, LAST][means.index(max(means))]
    best = load(resumed / f'best_mIoU_iter_{iteration}.pth')['state_dict']
    student = load(resumed / 'student_best.pth')

    assert student['meta']['iter'] == iteration
    for name, value in student['state_dict'].items():
        assert torch.equal(value, best[f'student.{name}'])


def test_exported_student_is_the_model_of_mmseg(resumed: Path) -> None:
    weights = load(resumed / 'student_last.pth')['state_dict']
    distiller = load(resumed / f'iter_{LAST}.pth')['state_dict']
    model = init_model(R18, device='cpu')

    assert list(weights) == list(model.state_dict())
    model.load_state_dict(weights, strict=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, distiller[f'student.{name}'])


def test_export_student(resumed: Path, tmp_path: Path) -> None:
    run(*EXPORT, resumed / f'iter_{LAST}.pth', 'student.pth', cwd=tmp_path)
    assert_same(
        load(tmp_path / 'student.pth')['state_dict'],
        load(resumed / 'student_last.pth')['state_dict'],
    )


WITHOUT_US = """
import sys

sys.modules['mmkd_logit'] = None  # an import of it fails
config, weights, *images = sys.argv[1:]
assert 'mmkd_logit' not in open(config).read().split('\\n', 1)[1]
from mmseg.apis import inference_model, init_model
import torch

scale = {'test_pipeline.1.scale': (128, 64)}
model = init_model(config, weights, 'cpu', scale)
results = inference_model(model, images)
torch.save(torch.stack([each.pred_sem_seg.data[0] for each in results]), 'maps.pt')
"""


def test_student_loads_where_this_package_is_not(
    resumed: Path, expected: torch.Tensor, tmp_path: Path
) -> None:
    files = (resumed / 'student.py', resumed / 'student_last.pth')
    images = files_of(resumed.parent)
    run(sys.executable, '-c', WITHOUT_US, *files, *images, cwd=tmp_path)
    assert torch.equal(torch.load(tmp_path / 'maps.pt'), expected)


def test_inference_of_mmseg(resumed: Path, expected: torch.Tensor) -> None:
    scale = {'test_pipeline.1.scale': (WIDTH, HEIGHT)}
    model = init_model(R18, str(resumed / 'student_last.pth'), 'cpu', scale)
    results = inference_model(model, files_of(resumed.parent))

    assert model.dataset_meta['classes'][:3] == ('road', 'sidewalk', 'building')
    label_maps = torch.stack([result.pred_sem_seg.data[0] for result in results])
    assert torch.equal(label_maps, expected)


def test_inferencer_of_mmseg(resumed: Path, expected: torch.Tensor) -> None:
    cfg = Config.fromfile(R18)
    cfg.test_dataloader.dataset.pipeline[1].scale = (WIDTH, HEIGHT)
    infer = MMSegInferencer(cfg, str(resumed / 'student_last.pth'), device='cpu')
    results = infer(files_of(resumed.parent), batch_size=IMAGES, show=False)

    label_maps = [torch.as_tensor(each) for each in results['predictions']]
    assert torch.equal(torch.stack(label_maps), expected)


@pytest.mark.parametrize('augment', [(), ('--tta',)], ids=['plain', 'six scales'])
def test_test_tool_of_mmseg(augment: tuple[str, ...], resumed: Path) -> None:
    cwd = resumed.parent
    options = ('--cfg-options', *data_options(cwd, 'test'))
    result = run(
        *(sys.executable, MMSEG / 'tools' / 'test.py', R18),
        *(resumed / 'student_last.pth', '--work-dir', 'theirs', *augment, *options),
        cwd=cwd,
        env={'PYTHONPATH': ''},
    )
    assert 'unexpected key' not in result.stdout
    assert 'missing key' not in result.stdout

    checkpoint = resumed / f'iter_{LAST}.pth'
    ours = metrics_of(DHKD, checkpoint, *augment, *options, cwd=cwd)
    theirs = dict(re.findall(r'(aAcc|mIoU|mAcc): ([\d.]+)', result.stdout))
    assert set(ours) == set(theirs) == {'aAcc', 'mIoU', 'mAcc'}
    assert ours == {key: pytest.approx(float(theirs[key])) for key in theirs}
    same = ours['mIoU'] == pytest.approx(scalars(resumed, 'mIoU')[-1])
    assert same == (not augment)


def test_mcld(cwd: Path) -> None:
    options = (
        *train_options(cwd, 2),
        'model.losses.mcld.max_rows=50',
        'model.losses.mcld.queue_size=400',
        'model.task_loss_weight=0.0',
    )
    run(*TRAIN, MCLD, '--work-dir', 'mcld', *options, cwd=cwd)
    work_dir = cwd / 'mcld'
    assert len(scalars(work_dir, 'loss_mcld')) == 2
    assert scalars(work_dir, 'loss') == scalars(work_dir, 'loss_mcld')
    for key in ('decode.task_ce', 'decode.acc_seg'):
        assert min(scalars(work_dir, key)) >= 0
    weights = load(work_dir / 'iter_2.pth')['state_dict']
    assert weights['losses.mcld.queue.pushed'] == 100
    assert weights['losses.mcld.queue.image_index'][:100].min() >= 0
    student = load(work_dir / 'student_last.pth')['state_dict']
    assert not any('queue' in name for name in student)


def test_two_processes_without_a_gpu(cwd: Path) -> None:
    script = REPO / 'tools' / 'dist_train.sh'
    options = ('--work-dir', 'two', *train_options(cwd, 1))
    run(script, DHKD, '2', *options, cwd=cwd, env=free_port())
    (loss,) = scalars(cwd / 'two', 'loss_dhkd')
    assert loss > 0
