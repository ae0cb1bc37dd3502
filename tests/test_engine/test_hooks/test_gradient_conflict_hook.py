from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp_module
import mmseg.models  # noqa: F401  registers the backbones
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd_logit.engine import GradientConflictHook
from mmkd_logit.engine.hooks.gradient_conflict_hook import parts_of
from mmkd_logit.functional import gradient_cosine
from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import MODELS

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')
STAGES = ['layer1', 'layer2', 'layer3']
AUX = dict(
    aux_head=dict(type='LinearLogitHead'),
    losses=dict(dhkd=dict(type='BinaryKLNormLoss', head='aux')),
)
MAIN = dict(losses=dict(kd=dict(type='KDLoss')))


class Samples(torch.utils.data.Dataset):
    """A few labelled images, as mmpretrain's datasets give them."""

    def __init__(self, samples: dict) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples['inputs'])

    def __getitem__(self, index: int) -> dict:
        sample = copy.deepcopy(self.samples['data_samples'][index])
        return dict(inputs=self.samples['inputs'][index], data_samples=sample)


class Look(Hook):
    """What the gradients are in the iterations that a test looks at."""

    def __init__(self, *iters: int) -> None:
        self.iters = iters
        self.cosines: dict[int, dict[str, float]] = {}

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 in self.iters:
            batch = copy.deepcopy(kwargs['data_batch'])
            twin = copy.deepcopy(runner.model)
            self.cosines[runner.iter + 1] = cosines(twin, batch)


def cosines(model: LogitDistiller, batch: dict) -> dict[str, float]:
    """By the names of the parameters."""
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    task = losses['loss_task']
    distill = sum(losses[f'loss_{name}'] for name in model.losses)
    names = {
        'classifier': 'student.head.fc.',
        'backbone': 'student.backbone.',
        **{stage: f'student.backbone.{stage}.' for stage in STAGES},
    }
    found = {}
    for name, prefix in names.items():
        params = [p for n, p in model.named_parameters() if n.startswith(prefix)]
        both = (
            torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
            for loss in (task, distill)
        )
        found[name] = gradient_cosine(*both).item()
    return found


@pytest.fixture
def train(
    tmp_path: Path, classifier: Callable[..., dict], batch: Callable[..., dict]
) -> Callable[..., Runner]:
    """Train for six iterations of two epochs, with these hooks."""
    torch.manual_seed(1)
    samples = Samples(batch(size=12))

    def train(hooks: list, method: dict = MAIN, **settings: Any) -> Runner:
        model = dict(
            type='mmkd_logit.LogitDistiller',
            student=classifier(),
            teacher=dict(model=classifier(), checkpoint=None),
            **method,
        )
        runner = Runner(
            **{
                'model': model,
                'work_dir': str(tmp_path / f'work{torch.rand(1).item()}'),
                'train_dataloader': dict(
                    batch_size=4,
                    num_workers=0,
                    dataset=samples,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    collate_fn=dict(type='default_collate'),
                ),
                'train_cfg': dict(by_epoch=True, max_epochs=2),
                'optim_wrapper': dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
                'custom_hooks': hooks,
                'default_scope': 'mmpretrain',
                'visualizer': dict(
                    type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
                ),
                'randomness': dict(seed=0),
                'experiment_name': f'{tmp_path.name}_{torch.rand(1).item()}',
                **settings,
            }
        )
        runner.train()
        return runner

    return train


def logged(runner: Runner) -> dict[int, dict[str, float]]:
    """What the hook gave to the visualizer, by iteration."""
    (path,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    return {line.pop('step'): line for line in lines if 'grad_cos/backbone' in line}


def test_cosines_and_shares(
    train: Callable[..., Runner], capfd: pytest.CaptureFixture
) -> None:
    look = Look(2, 4, 6)
    runner = train([dict(type='mmkd_logit.GradientConflictHook', interval=2), look])
    lines = logged(runner)
    assert list(lines) == list(look.cosines) == [2, 4, 6]
    conflicts = dict.fromkeys(look.cosines[2], 0)
    for count, (step, line) in enumerate(lines.items(), start=1):
        assert len(line) == 11
        for name, cosine in look.cosines[step].items():
            conflicts[name] += cosine < 0
            assert line[f'grad_cos/{name}'] == pytest.approx(cosine, abs=1e-5)
            assert line[f'grad_conflict/{name}'] == conflicts[name] / count
    assert 0 < sum(conflicts.values()) < 15
    shown = capfd.readouterr().out + capfd.readouterr().err
    line = 'Iter [6] gradient cosine (conflicts): classifier: '
    assert f'{line}{look.cosines[6]["classifier"]:.4f} (' in shown


@pytest.mark.parametrize(
    'wrapper',
    [
        'OptimWrapper',
        'AmpOptimWrapper',
        'mmkd_logit.GradAlignOptimWrapper',
        'mmkd_logit.GradAlignAmpOptimWrapper',
    ],
)
def test_training_is_not_changed(
    wrapper: str, train: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    if 'Amp' in wrapper:  # mmengine has it on GPUs only
        if not hasattr(torch.amp, 'GradScaler'):
            pytest.skip('this torch scales losses on GPUs only')
        scaler = partial(torch.amp.GradScaler, 'cpu')
        monkeypatch.setattr(amp_module, 'is_cuda_available', lambda: True)
        monkeypatch.setattr(amp_module, 'GradScaler', scaler)
    aux = dict(type='MLPLogitHead', hidden_channels=8, dropout=0.5)
    method = {**AUX, 'aux_head': aux}
    settings = dict(
        optim_wrapper=dict(
            type=wrapper,
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            accumulative_counts=2,
        )
    )
    with_hook, without = (
        train(hooks, method, **settings)
        for hooks in ([dict(type='mmkd_logit.GradientConflictHook', interval=1)], [])
    )
    assert len(logged(with_hook)) == 6 and not logged(without)
    expected = without.model.state_dict()
    for name, value in with_hook.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert not with_hook.model._forward_hooks


def test_no_cosine_where_a_loss_does_not_reach(train: Callable[..., Runner]) -> None:
    runner = train([dict(type='mmkd_logit.GradientConflictHook', interval=3)], AUX)
    lines = logged(runner)
    assert list(lines) == [3, 6]
    for line in lines.values():
        assert [key for key in line if key.startswith('grad_cos/')] == [
            f'grad_cos/{name}' for name in ('backbone', *STAGES)
        ]


class FreezeHook(Hook):
    """As backbones do that freeze their first stages in ``train()``."""

    def before_train_epoch(self, runner: Runner) -> None:
        runner.model.student.backbone.layer1.requires_grad_(False)


def test_stages_that_are_frozen_once_training_has_begun(
    train: Callable[..., Runner],
) -> None:
    hook = dict(type='mmkd_logit.GradientConflictHook', interval=3)
    lines = logged(train([hook, FreezeHook()]))
    assert list(lines) == [3, 6]
    for line in lines.values():
        assert 'grad_cos/layer1' not in line and 'grad_cos/layer2' in line


def test_nothing_is_measured_while_the_teacher_rests(
    train: Callable[..., Runner],
) -> None:
    hooks = [
        dict(type='mmkd_logit.GradientConflictHook', interval=1),
        dict(type='mmkd_logit.LossWeightHook', end=1),
    ]
    assert list(logged(train(hooks))) == [1, 2, 3]


def test_a_resumed_run_goes_on_counting(train: Callable[..., Runner]) -> None:
    hooks = [dict(type='mmkd_logit.GradientConflictHook', interval=1)]
    whole = train(hooks)
    first = train(hooks, train_cfg=dict(by_epoch=True, max_epochs=1))
    checkpoint = str(Path(first.work_dir) / 'epoch_1.pth')
    resumed = train(hooks, resume=True, load_from=checkpoint)
    lines = logged(resumed)
    assert list(lines) == [4, 5, 6]
    steps = {len(logged(run)) for run in (whole, first)}
    assert steps == {6, 3}
    counts = resumed.message_hub.get_info('grad_conflict')
    assert {steps for _, steps in counts.values()} == {6}


def test_stages(classifier: Callable[..., dict]) -> None:
    def stages(**backbone: Any) -> list[str]:
        student = classifier()
        student['backbone'] = backbone
        model = MODELS.build(
            dict(
                type='mmkd_logit.LogitDistiller',
                student=student,
                teacher=dict(model=classifier(), checkpoint=None),
                **MAIN,
            )
        )
        return list(parts_of(model))[2:]

    four = [f'layer{i}' for i in range(1, 5)]
    assert stages(type='mmkd_logit.CIFARResNet', arch='resnet8') == STAGES
    assert stages(type='ResNet', depth=18) == four
    assert stages(type='ResNet', depth=18, frozen_stages=2) == four[2:]
    assert stages(type='mmseg.ResNetV1c', depth=18) == ['stem', *four]
    assert stages(type='mmseg.MixVisionTransformer', embed_dims=8) == [
        f'layers.{i}' for i in range(4)
    ]
    assert stages(type='SwinTransformer', arch='tiny') == [
        'patch_embed',
        *(f'stages.{i}' for i in range(4)),
    ]
    assert stages(type='CSPDarkNet', depth=53) == [
        'stem',
        *(f'stages.{i}' for i in range(5)),
    ]


def test_bad_input(
    train: Callable[..., Runner], classifier: Callable[..., dict]
) -> None:
    hook = dict(type='mmkd_logit.GradientConflictHook')
    with pytest.raises(ValueError, match='interval must be 1 or more, but got 0'):
        GradientConflictHook(interval=0)
    with pytest.raises(TypeError, match='Hook works on a LogitDistiller'):
        train([hook], model=classifier())
    student = classifier()
    del student['head']
    headless = dict(
        type='mmkd_logit.LogitDistiller',
        student=student,
        teacher=dict(model=classifier(), checkpoint=None),
        **MAIN,
    )
    with pytest.raises(ValueError, match='one layer in the head of ImageClassifier'):
        train([hook], model=headless)


def test_frozen_or_unusual_students(classifier: Callable[..., dict]) -> None:
    model = MODELS.build(
        dict(
            type='mmkd_logit.LogitDistiller',
            student=classifier(),
            teacher=dict(model=classifier(), checkpoint=None),
            **MAIN,
        )
    )
    model.student.backbone.requires_grad_(False)
    assert list(parts_of(model)) == ['classifier']
    model.student.head.requires_grad_(False)
    with pytest.raises(ValueError, match='neither the classifier nor the backbone'):
        parts_of(model)
    del model.student.backbone
    with pytest.raises(ValueError, match='ImageClassifier has none'):
        parts_of(model)
