"""Evaluates the teacher before a student learns from it."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.models.teachers import StoredTeacher, Teacher
from mmkd_logit.registry import HOOKS
from mmkd_logit.rng import side_rng


@HOOKS.register_module()
class TeacherCheckHook(Hook):
    """Compares the teacher's classes with the dataset's, and evaluates it once.

    A teacher that is wrong (other weights, other normalization, other order of the
    classes) still gives logits, and distillation quietly fails. This makes it loud.
    If its checkpoint names its classes, they must be those of the training set, in
    the same order. Its metrics on the validation set are logged as
    ``teacher/<metric>`` before training. A resumed run does not repeat it. A teacher
    whose logits are stored is judged by its metrics of that time.

    Args:
        metric (str, optional): The metric that is compared, such as 'accuracy/top1'.
            Defaults to None: it is only logged.
        minimum (float, optional): Smallest value of ``metric`` to go on with.
            Defaults to None.

    Raises:
        ValueError: If only one of ``metric`` and ``minimum`` is given; when training
            starts, if the teacher has other classes or another order of them, if
            there is no validation set or no such metric, or the teacher is below
            ``minimum``.

    Example:
        As a default hook, so that a child config can change or drop it::

            default_hooks = dict(
                teacher_check=dict(
                    type='mmkd_logit.TeacherCheckHook',
                    metric='accuracy/top1',
                    minimum=70.0))
    """

    priority = 'LOW'

    def __init__(self, metric: str | None = None, minimum: float | None = None) -> None:
        if (metric is None) != (minimum is None):
            raise ValueError(
                'TeacherCheckHook needs metric and minimum together, but got '
                f'metric={metric!r}, minimum={minimum!r}.'
            )
        self.metric = metric
        self.minimum = minimum

    def before_train(self, runner: Runner) -> None:
        """Evaluate, log, compare."""
        if runner.iter > 0:
            return
        self._check_classes(runner)
        model = distiller_in(runner.model, type(self).__name__)
        teacher = model.teacher
        if runner.val_loop is None and not isinstance(teacher, StoredTeacher):
            raise ValueError(
                'TeacherCheckHook evaluates on the validation set, but the config has '
                'no val_dataloader. Add one, or set default_hooks.teacher_check=None.'
            )
        if isinstance(teacher, StoredTeacher):
            metrics = _stored_metrics(teacher)
        else:
            runner.logger.info(f'Evaluating {teacher.name} before training.')
            loop = runner.val_loop
            # A data loader draws a seed: without this, dropout would differ.
            with side_rng():
                metrics = evaluate_teacher(model, loop.evaluator, loop.dataloader)
        runner.message_hub.update_info('teacher', metrics)
        runner.visualizer.add_scalars(
            {f'teacher/{name}': value for name, value in metrics.items()}
        )
        shown = '  '.join(f'teacher/{name}: {v:.4f}' for name, v in metrics.items())
        runner.logger.info(shown)
        if self.metric is None or self.minimum is None:
            return
        if self.metric not in metrics:
            raise ValueError(
                f'TeacherCheckHook.metric is {self.metric!r}, but the evaluator gives '
                f'{list(metrics)}.'
            )
        if not metrics[self.metric] >= self.minimum:
            raise ValueError(
                f'{teacher.name} with the weights {teacher.checkpoint} reaches '
                f'{self.metric}={metrics[self.metric]:.2f} on the validation set, '
                f'below the minimum of {self.minimum}. Check its weights, its '
                'data_preprocessor and the order of the classes, or set '
                'default_hooks.teacher_check.minimum.'
            )

    def _check_classes(self, runner: Runner) -> None:
        teacher = distiller_in(runner.model, type(self).__name__).teacher
        theirs = teacher.classes
        meta = getattr(runner.train_dataloader.dataset, 'metainfo', {})
        ours = meta.get('classes')
        if not theirs or not ours or tuple(theirs) == tuple(ours):
            return
        differ = [i for i, pair in enumerate(zip(theirs, ours)) if len(set(pair)) > 1]
        first = differ[0] if differ else min(len(theirs), len(ours)) - 1
        what = (
            f'The {len(theirs)} classes of {teacher.name} are not the {len(ours)} of '
            f'the training set: {len(differ)} have another name, the first is class '
            f'{first}, {theirs[first]!r} there and {ours[first]!r} here.'
        )
        # A few other words for the same things are common; another order is fatal.
        same_set = set(theirs) == set(ours)
        if len(theirs) != len(ours) or same_set or 2 * len(differ) > len(ours):
            raise ValueError(
                f'{what} The student would learn the wrong classes. Take a teacher '
                "trained on these classes in this order, or set the data set's "
                'metainfo.'
            )
        runner.logger.warning(what)


def _stored_metrics(teacher: StoredTeacher) -> dict[str, float]:
    """What it reached on the validation set when its logits were stored."""
    if teacher.metrics is None:
        raise ValueError(
            f'{teacher.name} cannot be evaluated: it is not loaded, and its logits '
            'were stored without a val_dataloader. Set '
            'default_hooks.teacher_check=None.'
        )
    return teacher.metrics


@torch.no_grad()
def evaluate_teacher(
    model: LogitDistiller, evaluator: Evaluator, loader: DataLoader
) -> dict[str, float]:
    """Metrics of a distiller's teacher.

    Args:
        model (LogitDistiller): With its teacher loaded.
        evaluator (Evaluator): mmengine's.
        loader (DataLoader): Of the validation set.

    Returns:
        dict[str, float]: As the evaluator names them.
    """
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        samples = _predict(model, data['inputs'], data['data_samples'])
        evaluator.process(data_samples=samples, data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))  # type: ignore[arg-type]


def _predict(model: LogitDistiller, inputs: Tensor, data_samples: list) -> list[Any]:
    """Predictions of the teacher; from its logits if it is of another library."""
    teacher = model.teacher
    assert isinstance(teacher, Teacher)
    if isinstance(teacher.module, BaseModel):
        samples = teacher.predict(inputs, data_samples)
        if isinstance(samples, list):
            return samples
    logits = teacher(inputs)
    return model.task.predictions(model.student, logits, inputs, data_samples)
