"""The ImageNet config as it is, on a folder that looks like ImageNet."""

import importlib.util
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from command_lines import (
    CONFIGS,
    EXPORT,
    REPO,
    TRAIN,
    assert_same,
    attempt,
    load,
    metrics_of,
    run,
    scalars,
)
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmpretrain import ImageClassificationInferencer, get_model
from mmpretrain.registry import DATASETS

from mmkd_logit.registry import MODELS

DHKD = CONFIGS / 'dhkd' / 'res34_res18_in1k.py'
MMPRETRAIN = Path(importlib.util.find_spec('mmpretrain').origin).parent / '.mim'
RESNET18 = MMPRETRAIN / 'configs' / 'resnet' / 'resnet18_8xb32_in1k.py'
IMAGES = 16


def data_options(cwd: Path, *splits: str) -> list[str]:
    return [
        f'{split}_dataloader.{option}'
        for split in splits
        for option in (
            'batch_size=8',
            'num_workers=0',
            f'dataset.data_root={cwd / "imagenet"}',
            f'dataset.indices={IMAGES}',
        )
    ]


def train_options(cwd: Path, epochs: int) -> list[str]:
    return [
        '--cfg-options',
        *data_options(cwd, 'train', 'val', 'test'),
        f'train_cfg.max_epochs={epochs}',
        f'model.teacher.checkpoint={cwd / "resnet34.pth"}',
        'default_hooks.teacher_check.minimum=0',
        'default_hooks.logger.interval=1',
    ]


@pytest.fixture(scope='module')
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a teacher of random weights."""
    cwd = tmp_path_factory.mktemp('imagenet')
    run(
        *(sys.executable, REPO / 'tests' / 'make_imagenet_folder.py', 'imagenet'),
        cwd=cwd,
    )
    torch.manual_seed(1)
    teacher = get_model('resnet34_8xb32_in1k')
    torch.save({'state_dict': teacher.state_dict()}, cwd / 'resnet34.pth')
    return cwd


@pytest.fixture(scope='module')
def first(cwd: Path) -> Path:
    """Work dir after one epoch, with the learning rate of a batch of 8."""
    options = ('--work-dir', 'work', '--auto-scale-lr', *train_options(cwd, epochs=1))
    run(*TRAIN, DHKD, *options, cwd=cwd)
    return cwd / 'work'


@pytest.fixture(scope='module')
def resumed(cwd: Path, first: Path) -> Path:
    """The same work dir after a second epoch, resumed."""
    options = ('--work-dir', first, '--auto-scale-lr', *train_options(cwd, epochs=2))
    run(*TRAIN, DHKD, '--resume', *options, cwd=cwd)
    return first


@pytest.fixture(scope='module')
def expected(resumed: Path) -> torch.Tensor:
    """Class scores that the distiller's last checkpoint gives to the images."""
    cfg = Config.fromfile(DHKD)
    cfg.merge_from_dict(
        dict(option.split('=') for option in data_options(resumed.parent, 'val'))
    )
    cfg.val_dataloader.dataset.indices = IMAGES
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(load(resumed / 'epoch_2.pth')['state_dict'])
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    with torch.no_grad():
        samples = model.val_step(pseudo_collate([dataset[i] for i in range(IMAGES)]))
    return torch.stack([sample.pred_score for sample in samples])


def test_learning_rate_is_scaled_to_the_batch(first: Path) -> None:
    rates = scalars(first, 'lr')
    assert rates == pytest.approx([0.1 * 8 / 256] * 2)


def test_train(first: Path) -> None:
    (accuracy,) = scalars(first, 'accuracy/top1')
    (of_teacher,) = scalars(first, 'teacher/accuracy/top1')
    assert 0 <= accuracy <= 100
    assert 0 <= of_teacher <= 100
    assert len(scalars(first, 'accuracy/top5')) == 1
    assert all(loss > 0 for loss in scalars(first, 'loss_dhkd'))


def test_resume(resumed: Path) -> None:
    assert scalars(resumed, 'iter') == [3, 4]
    assert scalars(resumed, 'teacher/accuracy/top1') == []
    assert load(resumed / 'student_last.pth')['meta']['iter'] == 4
    rates = scalars(resumed, 'lr')
    assert rates == pytest.approx([0.1 * 8 / 256] * 2)


def test_export_student(resumed: Path, tmp_path: Path) -> None:
    run(*EXPORT, resumed / 'epoch_2.pth', 'student.pth', cwd=tmp_path)
    weights = load(tmp_path / 'student.pth')['state_dict']

    assert_same(weights, load(resumed / 'student_last.pth')['state_dict'])
    model = get_model('resnet18_8xb32_in1k')
    model.load_state_dict(weights, strict=True)
    assert torch.equal(model.head.fc.weight, weights['head.fc.weight'])
    assert len(weights['head.fc.bias']) == 1000


WITHOUT_US = """
import sys

sys.modules['mmkd_logit'] = None  # an import of it fails
config, weights = sys.argv[1:]
assert 'mmkd_logit' not in open(config).read().split('\\n', 1)[1]
from mmpretrain import get_model

model = get_model(config, pretrained=weights)
import torch

saved = torch.load(weights, weights_only=True)['state_dict']
state = model.state_dict()
assert list(state) == list(saved)
assert all(torch.equal(state[name], saved[name]) for name in saved)
mean = model.data_preprocessor.mean.flatten().tolist()
assert [round(each, 3) for each in mean] == [123.675, 116.28, 103.53]
print('loaded', type(model).__name__)
"""


def test_student_loads_where_this_package_is_not(resumed: Path) -> None:
    files = (resumed / 'student.py', resumed / 'student_last.pth')
    result = run(sys.executable, '-c', WITHOUT_US, *files, cwd=resumed)
    assert result.stdout.splitlines()[-1] == 'loaded ImageClassifier'


def test_inferencer_of_mmpretrain(resumed: Path, expected: torch.Tensor) -> None:
    infer = ImageClassificationInferencer(
        str(RESNET18), pretrained=str(resumed / 'student_last.pth'), device='cpu'
    )
    images = sorted((resumed.parent / 'imagenet' / 'val').glob('*/*.JPEG'))[:IMAGES]
    results = infer([str(image) for image in images], batch_size=8)

    scores = torch.stack([torch.as_tensor(r['pred_scores']) for r in results])
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-8)
    # Scores are near 1/1000, and differ from image to image by more than that.
    assert expected.std(dim=0).max() > 1e-6


def test_test_tool_of_mmpretrain(resumed: Path, expected: torch.Tensor) -> None:
    cwd = resumed.parent
    script = MMPRETRAIN / 'tools' / 'test.py'
    result = run(
        *(sys.executable, script, RESNET18, resumed / 'student_last.pth'),
        *('--out', 'scores.pkl', '--work-dir', 'theirs'),
        *('--cfg-options', *data_options(cwd, 'test')),
        cwd=cwd,
        env={'PYTHONPATH': ''},
    )
    assert 'unexpected key' not in result.stdout
    assert 'missing key' not in result.stdout
    with (cwd / 'scores.pkl').open('rb') as file:
        scores = torch.stack([sample['pred_score'] for sample in pickle.load(file)])
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-8)

    ours = metrics_of(
        *(DHKD, resumed / 'epoch_2.pth', '--cfg-options', *data_options(cwd, 'test')),
        cwd=cwd,
    )
    theirs = dict(re.findall(r'(accuracy/top\d): ([\d.]+)', result.stdout))
    assert set(ours) == set(theirs) == {'accuracy/top1', 'accuracy/top5'}
    assert ours == {key: pytest.approx(float(theirs[key])) for key in theirs}


def test_mixed_precision_needs_a_gpu(cwd: Path) -> None:
    result = attempt(*TRAIN, DHKD, '--amp', *train_options(cwd, epochs=1), cwd=cwd)
    assert result.returncode == 2
    message = result.stdout.splitlines()[-1]
    said = '--amp: mmengine supports mixed precision on GPUs only.'
    assert message == f'train.py: error: {DHKD}: {said}'
