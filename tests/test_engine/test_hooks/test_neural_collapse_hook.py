from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd_logit.datasets import Digits
from mmkd_logit.functional import neural_collapse
from mmkd_logit.registry import HOOKS, MODELS

CONFIGS = Path(__file__).parents[3] / 'configs'
HOOK = 'mmkd_logit.NeuralCollapseHook'
NAMES = ['nc/nc1', 'nc/nc2_means', 'nc/nc2_weights', 'nc/nc3', 'nc/nc4']

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


@MODELS.register_module()
class ConvClsHead(torch.nn.Module):
    """A head whose last layer is a convolution."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = torch.nn.Conv2d(64, num_classes, 1)


@HOOKS.register_module()
class Modes(Hook):
    """Whether each layer is in training after an epoch, one of them being frozen."""

    priority = 'LOWEST'

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        runner.model.student.backbone.bn1.eval()

    def after_train_epoch(self, runner: Runner) -> None:
        self.modes = {name: m.training for name, m in runner.model.named_modules()}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Runner]:
    """Train on a few digits for two epochs, with these hooks."""

    def make(
        *hooks: Any, model: dict | None = None, epochs: int = 2, **settings: Any
    ) -> Runner:
        cfg = Config.fromfile(CONFIGS / 'dhkd' / 'res20_res8_digits.py')
        cfg.model.teacher.checkpoint = None
        # Dropout draws from the generator that the hook must leave alone.
        cfg.model.aux_head.type = 'MLPLogitHead'
        if model is not None:
            cfg.model = model
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.batch_size = 16
            loader.dataset.indices = 60
        cfg.train_cfg.update(max_epochs=epochs, val_interval=1)
        cfg.default_hooks = dict(checkpoint=None)
        cfg.custom_hooks = list(hooks)
        cfg.work_dir = str(tmp_path / f'work{len(list(tmp_path.iterdir()))}')
        cfg.experiment_name = cfg.work_dir.replace('/', '_')
        cfg.merge_from_dict(settings)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return make


def plain() -> dict:
    return Config.fromfile(CONFIGS / 'baseline' / 'res8_digits.py').model


def logged(runner: Runner) -> dict[int, list[float]]:
    """What the hook has logged, by epochs."""
    (path,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
    logs = map(json.loads, path.read_text().splitlines())
    found = {}
    for log in logs:
        if 'nc/nc1' in log:
            assert list(log) == [*NAMES, 'step']
            found[log['step']] = [log[name] for name in NAMES]
    return found


@torch.no_grad()
def measured(model: Any, split: str, images: slice) -> list[float]:
    """The same from the raw images, by another way through the model."""
    dataset = Digits(split)
    items = [dataset[i] for i in range(60)][images]
    inputs = torch.tensor(np.stack([item['img'] for item in items])).permute(0, 3, 1, 2)
    model.eval()
    features = model.extract_feat((inputs.float() - 78) / 96, stage='pre_logits')
    logits = model.head.fc(features)
    labels = torch.tensor([item['gt_label'] for item in items])
    return list(neural_collapse(features, logits, labels, model.head.fc.weight))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_logs_what_the_last_weights_give(
    split: str, run: Callable[..., Runner]
) -> None:
    runner = run(dict(type=HOOK, split=split))
    found = logged(runner)
    assert list(found) == [1, 2]
    name = 'test' if split == 'val' else 'train'
    expected = measured(runner.model.student, name, slice(None))
    assert found[2] == pytest.approx(expected, rel=1e-4)
    assert found[1] != pytest.approx(expected, rel=1e-2)


def test_a_plain_classifier(run: Callable[..., Runner]) -> None:
    runner = run(dict(type=HOOK), model=plain(), epochs=1)
    expected = measured(runner.model, 'train', slice(None))
    assert logged(runner)[1] == pytest.approx(expected, rel=1e-4)


def test_training_is_not_disturbed(run: Callable[..., Runner]) -> None:
    modes = dict(type='mmkd_logit.Modes')
    watched = run(dict(type=HOOK, max_samples=20), modes)
    draws = torch.rand(3)
    alone = run(modes)
    assert torch.equal(torch.rand(3), draws)
    state = alone.model.state_dict()
    for name, value in watched.model.state_dict().items():
        assert torch.equal(value, state[name]), name
    first, second = (
        hook.modes
        for runner in (watched, alone)
        for hook in runner.hooks
        if isinstance(hook, Modes)
    )
    assert first == second
    assert first['student'] and not first['student.backbone.bn1']


def test_a_sample_is_bounded_and_the_same(
    run: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def record(features: torch.Tensor, logits: Any, labels: Any, weight: Any) -> Any:
        seen.append((features, labels))
        return neural_collapse(features, logits, labels, weight)

    monkeypatch.setattr(
        'mmkd_logit.engine.hooks.neural_collapse_hook.neural_collapse', record
    )
    run(dict(type=HOOK, max_samples=33), optim_wrapper=dict(optimizer=dict(lr=0.0)))
    (first, labels), (second, again) = seen
    assert len(first) == 33
    assert torch.equal(labels, again)
    # A random part, not the first images.
    dataset = Digits('train')
    assert labels.tolist() != [dataset[i]['gt_label'] for i in range(33)]
    # Only batch statistics have moved: no augmentation.
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ('epochs', 'expected'), [(2, [2, 4, 5]), ([1, 4], [1, 4]), (9, [5])]
)
def test_chosen_epochs(
    epochs: int | list[int], expected: list[int], run: Callable[..., Runner]
) -> None:
    hook = dict(type=HOOK, epochs=epochs, max_samples=20)
    assert list(logged(run(hook, epochs=5))) == expected


def test_a_wrapped_training_set(run: Callable[..., Runner]) -> None:
    dataset = dict(type='mmkd_logit.Digits', split='train', indices=30)
    pipeline = [dict(type='PackInputs')]
    repeated = dict(
        _delete_=True,
        type='RepeatDataset',
        times=2,
        dataset=dict(**dataset, pipeline=pipeline),
    )
    runner = run(dict(type=HOOK), epochs=1, train_dataloader=dict(dataset=repeated))
    expected = measured(runner.model.student, 'train', slice(30))
    assert logged(runner)[1] == pytest.approx(expected, rel=1e-4)


def test_bad_settings() -> None:
    from mmkd_logit.engine import NeuralCollapseHook

    for epochs in (0, [], [3, 0], -1):
        with pytest.raises(ValueError, match='epochs must be a number of epochs, or'):
            NeuralCollapseHook(epochs=epochs)
    with pytest.raises(ValueError, match='max_samples must be 2 or more, but got 1'):
        NeuralCollapseHook(max_samples=1)
    with pytest.raises(ValueError, match="'train' or 'val', but got 'test'"):
        NeuralCollapseHook(split='test')


def test_bad_configs(run: Callable[..., Runner]) -> None:
    hook = dict(type=HOOK)
    with pytest.raises(ValueError, match='loop counts iterations. Remove the hook'):
        train_cfg = dict(_delete_=True, by_epoch=False, max_iters=2)
        run(hook, train_cfg=train_cfg)
    nothing = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    with pytest.raises(ValueError, match='the config has no val_dataloader. Add one'):
        run(hook, model=plain(), **nothing)
    part = dict(type='mmkd_logit.Digits', pipeline=[dict(type='PackInputs')])
    several = dict(_delete_=True, type='ConcatDataset', datasets=[part, part])
    with pytest.raises(ValueError, match='but got ConcatDataset and Digits. Set split'):
        run(hook, train_dataloader=dict(dataset=several))
    model = plain()
    model.head = dict(type='mmkd_logit.ConvClsHead')
    with pytest.raises(TypeError, match='linear last layer, but head.conv of the Im'):
        run(hook, model=model)
