from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmkd_logit.engine import CurriculumHook, LossWeightHook
from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import MODELS

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


class Samples(Dataset):
    """A few labelled images, as mmpretrain's datasets give them."""

    metainfo = {'classes': tuple('abcde')}

    def __init__(self, samples: dict) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples['inputs'])

    def __getitem__(self, index: int) -> dict:
        sample = copy.deepcopy(self.samples['data_samples'][index])
        return dict(inputs=self.samples['inputs'][index], data_samples=sample)


class Share(BaseMetric):
    """Top-1 accuracy in percent."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            self.results.append((sample['pred_label'] == sample['gt_label']).item())

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {'top1': 100 * sum(results) / len(results)}


class Record(Hook):
    """Keeps what a test asks for after each step."""

    priority = 'LOWEST'

    def __init__(self, what: Callable[[Runner], Any]) -> None:
        self.what = what
        self.seen: list[Any] = []

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.seen.append(self.what(runner))


@pytest.fixture
def run(
    tmp_path: Path, classifier: Callable[..., dict], batch: Callable[..., dict]
) -> Callable[..., Runner]:
    """Train for three epochs of two iterations, with these hooks."""

    def make(
        hooks: list, model: dict | None = None, by_epoch: bool = True, **settings: Any
    ) -> Runner:
        if model is None:
            model = dict(
                type='mmkd_logit.LogitDistiller',
                student=classifier(),
                teacher=dict(model=classifier(), checkpoint=None),
                aux_head=dict(type='LinearLogitHead'),
                losses=dict(
                    dhkd=dict(type='BinaryKLNormLoss', head='aux'),
                    kd=dict(type='KDLoss'),
                ),
            )
        loader = dict(
            batch_size=4,
            num_workers=0,
            dataset=Samples(batch(size=8)),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        )
        train_cfg = (
            dict(by_epoch=True, max_epochs=3, val_interval=1)
            if by_epoch
            else dict(by_epoch=False, max_iters=6, val_interval=6)
        )
        runner = Runner(
            model=model,
            work_dir=str(tmp_path / 'work'),
            train_dataloader=loader,
            train_cfg=train_cfg,
            custom_hooks=hooks,
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            experiment_name=f'{tmp_path.name}_{torch.rand(1).item()}',
            cfg=dict(train_cfg=train_cfg),
            **{
                'val_dataloader': loader,
                'val_cfg': dict(),
                'val_evaluator': [Share()],
                'optim_wrapper': dict(optimizer=dict(type='SGD', lr=0.01)),
                **settings,
            },
        )
        runner.train()
        return runner

    return make


def weights(runner: Runner) -> tuple[float, ...]:
    return tuple(loss.weight for loss in runner.model.losses.values())


def test_factor() -> None:
    hook = LossWeightHook(begin=2, end=10, warmup=4)
    factors = [hook.factor(step) for step in range(12)]
    assert factors == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0, 0]
    assert LossWeightHook(end=49).factor(48) == 1
    assert LossWeightHook(end=49).factor(49) == 0


def test_the_warm_up_of_dkd_and_rld() -> None:
    """min(e / 20, 1), with epochs counted from 1."""
    hook = LossWeightHook(warmup=20)
    for epoch in range(1, 41):
        assert hook.factor(epoch - 1) == min(epoch / 20, 1)


def test_by_epoch(run: Callable[..., Runner]) -> None:
    record = Record(weights)
    hook = dict(type='mmkd_logit.LossWeightHook', names='dhkd', warmup=2, end=2)
    run([hook, record])
    assert record.seen == [(0.5, 1)] * 2 + [(1, 1)] * 2 + [(0, 1)] * 2


@pytest.mark.parametrize('by_epoch', [True, False])
def test_by_iteration_in_both_loops(by_epoch: bool, run: Callable[..., Runner]) -> None:
    record = Record(weights)
    hook = dict(type='mmkd_logit.LossWeightHook', warmup=4, end=5, by_epoch=False)
    run([hook, record], by_epoch=by_epoch)
    factors = (0.25, 0.5, 0.75, 1, 1, 0)
    assert record.seen == [(factor, factor) for factor in factors]


def test_factors_of_several_hooks_multiply(run: Callable[..., Runner]) -> None:
    """A warm-up and an end on one loss; the teacher rests after the end."""
    record = Record(weights)
    hook = 'mmkd_logit.LossWeightHook'
    hooks = [
        dict(type=hook, end=2),
        dict(type=hook, names=['kd'], warmup=4, by_epoch=False),
        record,
    ]
    for order in (hooks, [hooks[1], hooks[0], record]):
        record.seen.clear()
        runner = run(order)
        expected = [(1, 0.25), (1, 0.5), (1, 0.75), (1, 1.0), (0, 0), (0, 0)]
        assert record.seen == expected
        assert not runner.model.distils
        assert 'train/teacher_agreement' not in runner.message_hub.log_scalars


def test_agreement_is_logged_while_any_loss_needs_the_teacher(
    run: Callable[..., Runner],
) -> None:
    runner = run([dict(type='mmkd_logit.LossWeightHook', names='dhkd', end=1)])
    logged = runner.message_hub.get_scalar('train/teacher_agreement').data
    assert len(logged[0]) == 6


def test_bad_schedules(run: Callable[..., Runner]) -> None:
    for bad in (dict(begin=-1), dict(warmup=-1), dict(begin=5, end=5)):
        with pytest.raises(ValueError, match='0 <= begin < end'):
            LossWeightHook(**bad)
    with pytest.raises(ValueError, match=r"\['kdd'\].*\['dhkd', 'kd'\]"):
        run([dict(type='mmkd_logit.LossWeightHook', names=['kdd'])])
    with pytest.raises(ValueError, match='counts iterations. Set by_epoch=False'):
        run([dict(type='mmkd_logit.LossWeightHook')], by_epoch=False)


CTKD = dict(
    type='mmkd_logit.LogitDistiller',
    losses=dict(a_loss=dict(type='CTKDLoss'), kd=dict(type='KDLoss')),
)


def ctkd(runner: Runner) -> tuple[float, float]:
    """Factor of the temperature's gradient, and the temperature."""
    loss = runner.model.losses['a_loss']
    return loss.reversal, loss.temperature.item()


def test_curriculum() -> None:
    hook = CurriculumHook(length=10)
    assert hook.reversal(0) == 0
    assert hook.reversal(5) == pytest.approx(-0.5)
    assert hook.reversal(1) == pytest.approx((math.cos(math.pi / 10) - 1) / 2)
    assert hook.reversal(10) == hook.reversal(11) == -1


@pytest.mark.parametrize('by_epoch', [True, False])
def test_learned_temperature(
    by_epoch: bool,
    run: Callable[..., Runner],
    classifier: Callable[..., dict],
    tmp_path: Path,
    warned: list[str],
) -> None:
    """In the log, the optimizer, the checkpoint and the EMA; resumed bit for bit."""
    model = CTKD | dict(
        student=classifier(), teacher=dict(model=classifier(), checkpoint=None)
    )
    record = Record(ctkd)
    hooks = [
        dict(type='mmkd_logit.CurriculumHook', length=3, by_epoch=by_epoch),
        dict(type='EMAHook', momentum=0.5),
        dict(type='mmkd_logit.ExportStudentHook'),
        record,
    ]
    optimizer = dict(type='SGD', lr=5.0, momentum=0.9, weight_decay=1e-2)
    settings = dict(
        by_epoch=by_epoch,
        optim_wrapper=dict(optimizer=optimizer, clip_grad=dict(max_norm=0.1)),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', by_epoch=by_epoch, interval=1 if by_epoch else 2
            )
        ),
    )
    torch.manual_seed(0)  # for the images
    runner = run(hooks, model, **settings)
    factors = [seen[0] for seen in record.seen]
    steps = (1, 1, 2, 2, 3, 3) if by_epoch else (1, 2, 3, 3, 3, 3)
    assert factors == [CurriculumHook(length=3).reversal(step) for step in steps]
    temperatures = [seen[1] for seen in record.seen]
    assert len({1 + 20 / (1 + math.exp(-1)), *temperatures}) == 7
    logged = runner.message_hub.get_scalar('train/a_distill_temperature').data[0]
    assert logged[1:] == pytest.approx(temperatures[:-1], rel=1e-6)
    assert not any('curriculum' in message for message in warned)

    name = 'epoch_{}.pth' if by_epoch else 'iter_{}.pth'
    last, first = (3, 1) if by_epoch else (6, 2)
    whole = torch.load(tmp_path / 'work' / name.format(last), weights_only=False)
    theta = 'losses.a_loss.theta'
    # mmengine puts the means in place of the weights.
    trained = whole['ema_state_dict'][f'module.{theta}']
    assert 1 + 20 * trained.sigmoid() == pytest.approx(temperatures[-1], rel=1e-6)
    assert whole['state_dict'][theta] != trained
    student = torch.load(tmp_path / 'work' / 'student_last.pth', weights_only=False)
    assert not any('theta' in key for key in student['state_dict'])

    record.seen.clear()
    torch.manual_seed(0)
    start = str(tmp_path / 'work' / name.format(first))
    run(hooks, model, **settings, load_from=start, resume=True)
    assert [seen[1] for seen in record.seen] == temperatures[2:]
    again = torch.load(tmp_path / 'work' / name.format(last), weights_only=False)
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in whole[part].items():
            assert torch.equal(again[part][key], value), key


def test_curriculum_of_nothing(run: Callable[..., Runner]) -> None:
    hook = dict(type='mmkd_logit.CurriculumHook')
    with pytest.raises(ValueError, match='needs a CTKDLoss in the distiller'):
        run([hook])
    with pytest.raises(ValueError, match=r"names the losses \['x'\]"):
        run([dict(hook, names=['x'])])
    with pytest.raises(ValueError, match='and give length in iterations'):
        run([hook], by_epoch=False)
    for bad in (0, 2.5, None):
        with pytest.raises(ValueError, match='length must be an integer of 1 or more'):
            CurriculumHook(length=bad)


@pytest.mark.parametrize(
    'kind',
    ['CurriculumHook', 'LossWeightHook', 'TeacherCheckHook', 'ExportStudentHook'],
)
def test_hooks_refuse_a_plain_model(
    kind: str, run: Callable[..., Runner], classifier: Callable[..., dict]
) -> None:
    with pytest.raises(TypeError, match=f'{kind} works on a LogitDistiller'):
        run([dict(type=f'mmkd_logit.{kind}')], model=classifier())


def test_teacher_check(run: Callable[..., Runner]) -> None:
    runner = run([dict(type='mmkd_logit.TeacherCheckHook', metric='top1', minimum=0.0)])
    logged = runner.message_hub.get_info('teacher')['top1']

    model = runner.model
    data = model.data_preprocessor(next(iter(runner.val_dataloader)))
    first = runner.val_dataloader.dataset.samples
    logits = model.teacher(first['inputs'])
    right = [
        logits[i].argmax().item() == sample.gt_label.item()
        for i, sample in enumerate(first['data_samples'])
    ]
    assert logged == 100 * sum(right) / 8
    assert data['inputs'].shape == (4, 3, 8, 8)

    scalars = next(Path(runner.work_dir).glob('*/vis_data/scalars.json')).read_text()
    assert f'"teacher/top1": {logged}' in scalars
    # The student's metrics keep their names.
    assert 'val/top1' in runner.message_hub.log_scalars


class Foreign(torch.nn.Module):
    """A classifier of another library: it gives logits, whatever is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3 * 8 * 8, 5)

    def forward(self, inputs: torch.Tensor, *args: Any, mode: str = '') -> torch.Tensor:
        return self.fc(inputs.flatten(1))


def test_teacher_check_of_a_teacher_of_another_library(
    run: Callable[..., Runner], classifier: Callable[..., dict], batch: Callable
) -> None:
    model = dict(
        type='mmkd_logit.LogitDistiller',
        student=classifier(),
        teacher=dict(model=dict(type=Foreign), checkpoint=None),
        losses=dict(kd=dict(type='KDLoss')),
    )
    runner = run([dict(type='mmkd_logit.TeacherCheckHook')], model=model)
    samples = runner.val_dataloader.dataset.samples
    with torch.no_grad():
        named = runner.model.teacher.module(samples['inputs']).argmax(1)
    truth = torch.cat([each.gt_label for each in samples['data_samples']])
    expected = 100 * (named == truth).double().mean().item()
    assert runner.message_hub.get_info('teacher')['top1'] == expected


def test_classes_are_matched_by_the_names_of_the_training_set(
    run: Callable[..., Runner], classifier: Callable[..., dict], tmp_path: Path
) -> None:
    state = MODELS.build(classifier(num_classes=6)).state_dict()
    path = tmp_path / 'teacher.pth'

    def train(names: str, **settings: Any) -> Runner:
        meta = {'dataset_meta': {'classes': tuple(names)}}
        part = {k: v[: len(names)] if 'head' in k else v for k, v in state.items()}
        torch.save({'state_dict': part, 'meta': meta}, path)
        model = dict(
            type='mmkd_logit.LogitDistiller',
            student=classifier(),
            teacher=dict(
                model=classifier(num_classes=len(names)),
                checkpoint=str(path),
                **settings,
            ),
            losses=dict(kd=dict(type='KDLoss')),
        )
        return run([dict(type='mmkd_logit.TeacherCheckHook')], model=model)

    runner = train('fedcba', class_map='names')
    inputs = torch.randn(2, 3, 8, 8)
    teacher = runner.model.teacher
    assert teacher._index.tolist() == [5, 4, 3, 2, 1]
    assert torch.equal(teacher(inputs), teacher.module(inputs)[:, [5, 4, 3, 2, 1]])
    assert 'top1' in runner.message_hub.get_info('teacher')
    with pytest.raises(ValueError, match="6 classes, but the student has 5.*'names'"):
        train('fedcba')
    with pytest.raises(ValueError, match="wrong classes. Set teacher.class_map='names"):
        train('edcba')


def test_teacher_check_of_several_teachers(
    run: Callable[..., Runner], classifier: Callable[..., dict]
) -> None:
    one = dict(model=classifier(), checkpoint=None)
    model = dict(
        type='mmkd_logit.LogitDistiller',
        student=classifier(),
        teacher=[one, one | dict(name='b', weight=0.5)],
        losses=dict(kd=dict(type='KDLoss')),
    )
    stop = dict(type='mmkd_logit.LossWeightHook', end=2)
    hooks = [dict(type='mmkd_logit.TeacherCheckHook'), stop]
    names = ('train/teacher_agreement', 'train/teacher_agreement_b')
    record = Record(
        lambda runner: [name in runner.message_hub.log_scalars for name in names]
    )
    runner = run([*hooks, record], model=model)
    assert 0 <= runner.message_hub.get_info('teacher')['top1'] <= 100
    # They rest in the third epoch.
    assert record.seen[:4] == [[True, True]] * 4
    assert record.seen[4:] == [[False, False]] * 2


def test_teacher_check_without_validation(run: Callable[..., Runner]) -> None:
    nothing = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    with pytest.raises(ValueError, match='the config has no val_dataloader'):
        run([dict(type='mmkd_logit.TeacherCheckHook')], **nothing)


def test_teacher_below_the_minimum(run: Callable[..., Runner]) -> None:
    hook = dict(type='mmkd_logit.TeacherCheckHook', metric='top1', minimum=100.1)
    with pytest.raises(ValueError, match=r'top1=\d+\.\d+ .* below the minimum of 100'):
        run([hook])
    hook['metric'] = 'top5'
    with pytest.raises(ValueError, match=r"'top5', but the evaluator gives \['top1'\]"):
        run([hook])
    with pytest.raises(ValueError, match='metric and minimum together'):
        run([dict(type='mmkd_logit.TeacherCheckHook', minimum=1.0)])


def test_export_student(
    run: Callable[..., Runner], classifier: Callable[..., dict]
) -> None:
    hooks = [dict(type='mmkd_logit.ExportStudentHook')]
    checkpoint = dict(type='CheckpointHook', save_best='top1', rule='greater')
    runner = run(hooks, default_hooks=dict(checkpoint=checkpoint))
    work_dir = Path(runner.work_dir)
    last = torch.load(work_dir / 'student_last.pth', weights_only=True)
    plain = MODELS.build(classifier())
    plain.load_state_dict(last['state_dict'], strict=True)
    state = runner.model.student.state_dict()
    assert all(torch.equal(last['state_dict'][key], state[key]) for key in state)
    assert last['meta']['dataset_meta'] == {'classes': tuple('abcde')}
    assert last['meta']['epoch'] == 3

    best = torch.load(work_dir / 'student_best.pth', weights_only=True)
    (path,) = work_dir.glob('best_top1_*.pth')
    saved = torch.load(path, weights_only=False)['state_dict']
    for key, value in best['state_dict'].items():
        assert torch.equal(saved[f'student.{key}'], value), key


def test_export_holds_the_averaged_weights(run: Callable[..., Runner]) -> None:
    ema = dict(type='EMAHook', momentum=0.5)
    runner = run([ema, dict(type='mmkd_logit.ExportStudentHook')])
    hook = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook')
    averaged: LogitDistiller = hook.ema_model.module
    assert averaged.teacher is runner.model.teacher
    path = Path(runner.work_dir) / 'student_last.pth'
    exported = torch.load(path, weights_only=True)['state_dict']
    for key, value in averaged.student.state_dict().items():
        assert torch.equal(exported[key], value), key
    raw = runner.model.student.head.fc.weight
    assert not torch.equal(exported['head.fc.weight'], raw)


def test_several_best_metrics(
    run: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {'top/1': 1.0, 'top/2': 2.0}
    monkeypatch.setattr(Share, 'compute_metrics', lambda self, results: two)
    checkpoint = dict(type='CheckpointHook', save_best=list(two))
    hooks = [dict(type='mmkd_logit.ExportStudentHook')]
    runner = run(hooks, default_hooks=dict(checkpoint=checkpoint))
    names = {path.name for path in Path(runner.work_dir).glob('student_*.pth')}
    assert names == {
        'student_last.pth',
        'student_best_top_1.pth',
        'student_best_top_2.pth',
    }


def test_epoch_seed(run: Callable[..., Runner]) -> None:
    draws = []
    for _ in range(2):
        record = Record(lambda runner: torch.rand(1).item())
        run([dict(type='mmkd_logit.EpochSeedHook'), record])
        draws.append(record.seen)
        torch.manual_seed(99)
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 6


def test_a_minimum_that_is_not_in_percent(run: Callable[..., Runner]) -> None:
    hook = dict(type='mmkd_logit.TeacherCheckHook', metric='top1', minimum=0.1)
    with pytest.raises(ValueError, match=r'in percent. Write .*minimum=10\.'):
        run([hook])
    with pytest.raises(ValueError, match='minimum must be a number, but got False'):
        run([dict(hook, minimum=False)])
