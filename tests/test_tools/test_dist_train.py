"""Two processes do what one does, without a GPU."""

import json
from pathlib import Path

import pytest
import torch
from command_lines import (
    CONFIGS,
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

from mmkd_logit.registry import MODELS

# Without batch norm and augmentation, two half batches are one whole batch.
CONFIG = f"""
_base_ = {str(CONFIGS / '_base_' / 'recipes' / 'digits.py')!r}


def classifier(embed_dims):
    return dict(
        type='ImageClassifier',
        backbone=dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=embed_dims,
                num_layers=1,
                num_heads=2,
                feedforward_channels=embed_dims,
            ),
            img_size=8,
            patch_size=4,
            in_channels=1,
        ),
        head=dict(
            type='VisionTransformerClsHead', num_classes=10, in_channels=embed_dims
        ),
    )


model = dict(
    type='mmkd_logit.LogitDistiller',
    student=classifier(16),
    teacher=dict(
        model=dict(_scope_='mmpretrain', **classifier(32)), checkpoint='teacher.pth'
    ),
    aux_head=dict(type='LinearLogitHead'),
    losses=dict(
        dhkd=dict(type='BinaryKLNormLoss', loss_weight=0.1, head='aux'),
        kd=dict(type='KDLoss', loss_weight=0.1),
        # Two whole batches: which of a batch are forgotten first would differ.
        mcld=dict(type='MCLDLoss', loss_weight=0.01, queue_size=128),
    ),
)
train_dataloader = dict(
    batch_size=64, dataset=dict(indices=960, pipeline=_base_.test_pipeline)
)
# One process has an image more.
test_dataloader = dict(dataset=dict(indices=499))
train_cfg = dict(max_epochs=2)
log_processor = dict(window_size=1)
custom_hooks = [
    dict(type='mmkd_logit.LossWeightHook', end=1),
    dict(type='mmkd_logit.GradientConflictHook', interval=5),
]
default_hooks = dict(
    logger=dict(interval=1),
    teacher_check=dict(type='mmkd_logit.TeacherCheckHook'),
    export_student=dict(type='mmkd_logit.ExportStudentHook'),
)
"""


ALIGNED = """
_base_ = './tiny.py'
optim_wrapper = dict(type='mmkd_logit.GradAlignOptimWrapper')
"""


@pytest.fixture(scope='module')
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, its teacher, and a run in one process."""
    cwd = tmp_path_factory.mktemp('dist')
    (cwd / 'tiny.py').write_text(CONFIG)
    torch.manual_seed(1)
    teacher = MODELS.build(Config.fromfile(cwd / 'tiny.py').model.teacher.model)
    # Logits of size 1: the student has something to learn.
    torch.nn.init.normal_(teacher.head.layers.head.weight, std=0.2)
    torch.save(teacher.state_dict(), cwd / 'teacher.pth')
    run(*TRAIN, 'tiny.py', '--work-dir', 'one', cwd=cwd)
    return cwd


@pytest.fixture(scope='module')
def two(cwd: Path) -> Path:
    """Work dir of the same run in two processes, half a batch each."""
    half = ('--cfg-options', 'train_dataloader.batch_size=32')
    script = REPO / 'tools' / 'dist_train.sh'
    run(script, 'tiny.py', '2', '--work-dir', 'two', *half, cwd=cwd, env=free_port())
    return cwd / 'two'


def take_queue(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take MCLD's queue out of the weights, in the order of the images.

    Two processes push the rows of a batch in another order than one.
    """
    prefix = 'losses.mcld.queue.'
    names = ('logits', 'image_index', 'labels', 'pushed')
    queue = {name: weights.pop(prefix + name) for name in names}
    order = queue['image_index'].argsort()
    return {
        name: value[order] if value.ndim else value for name, value in queue.items()
    }


@pytest.mark.parametrize('epoch', [1, 2])
def test_two_processes_train_the_same_weights(epoch: int, cwd: Path, two: Path) -> None:
    alone = load(cwd / 'one' / f'epoch_{epoch}.pth')
    together = load(two / f'epoch_{epoch}.pth')

    assert 'aux_head.fc.weight' in alone['state_dict']
    queues = [take_queue(run['state_dict']) for run in (together, alone)]
    assert_same(*queues, atol=1e-6)
    assert len(queues[0]['image_index'].unique()) == 128
    assert_same(together['state_dict'], alone['state_dict'], atol=1e-6)
    # Momentum sums ten steps.
    assert_same(together['optimizer']['state'], alone['optimizer']['state'], atol=1e-5)
    assert together['meta']['iter'] == alone['meta']['iter'] == 15 * epoch


def test_weights_moved(cwd: Path) -> None:
    first, second = (load(cwd / 'one' / f'epoch_{i}.pth')['state_dict'] for i in (1, 2))
    moved = {
        name: (second[name] - first[name]).abs().max()
        for name in first
        if 'queue' not in name
    }
    assert min(moved.values()) > 1e-5


def test_distillation_stops_after_an_epoch(two: Path) -> None:
    for name in ('loss_dhkd', 'loss_kd', 'loss_mcld'):
        losses = scalars(two, name)
        assert len(losses) == 30
        assert min(losses[:15]) > 0.01
        assert losses[15:] == [0] * 15


def test_agreement_is_not_logged_while_the_teacher_rests(two: Path) -> None:
    assert len(scalars(two, 'teacher_agreement')) == 15


def test_student_is_exported_without_prefixes(cwd: Path, two: Path) -> None:
    student = load(two / 'student_last.pth')['state_dict']
    assert_same(student, load(cwd / 'one' / 'student_last.pth')['state_dict'], 1e-6)


def test_two_processes_measure_the_gradients_of_the_whole_batch(
    cwd: Path, two: Path
) -> None:
    assert_same_cosines(two, cwd / 'one')


def assert_same_cosines(work_dir: Path, other: Path) -> None:
    """Those of the epoch with distillation."""
    for part in ('classifier', 'backbone', 'layers.0'):
        cosines = scalars(work_dir, f'grad_cos/{part}')
        assert len(cosines) == 3
        assert cosines == pytest.approx(scalars(other, f'grad_cos/{part}'), abs=1e-4)


def test_two_processes_align_gradients(cwd: Path) -> None:
    (cwd / 'aligned.py').write_text(ALIGNED)
    one, two = cwd / 'aligned-one', cwd / 'aligned-two'
    run(*TRAIN, 'aligned.py', '--work-dir', one, cwd=cwd)
    run(
        *(REPO / 'tools' / 'dist_train.sh', 'aligned.py', '2', '--work-dir', two),
        *('--cfg-options', 'train_dataloader.batch_size=32'),
        cwd=cwd,
        env=free_port(),
    )
    for epoch in (1, 2):
        alone, together, plain = (
            load(path / f'epoch_{epoch}.pth')['state_dict']
            for path in (one, two, cwd / 'one')
        )
        assert_same(take_queue(together), take_queue(alone), atol=1e-6)
        assert_same(together, alone, atol=1e-6)
        name = 'student.backbone.patch_embed.projection.weight'
        assert (alone[name] - plain[name]).abs().max() > 1e-5
    assert_same_cosines(two, one)


def test_dist_test(cwd: Path, two: Path) -> None:
    checkpoint = two / 'epoch_2.pth'
    script = REPO / 'tools' / 'dist_test.sh'
    run(
        *(script, 'tiny.py', checkpoint, '2', '--out', 'two.json'),
        cwd=cwd,
        env=free_port(),
    )
    together = json.loads((cwd / 'two.json').read_text())
    assert together == metrics_of(cwd / 'tiny.py', checkpoint, cwd=cwd)
    assert together['accuracy/top1'] > 20
