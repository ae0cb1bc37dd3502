"""Evaluation of the teacher before a student learns from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mmkd_logit.engine.hooks.class_check_hook import class_names
from mmkd_logit.models import LogitDistiller, Teacher
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.models.teachers import StoredTeacher
from mmkd_logit.models.teachers.classes import match_class_names
from mmkd_logit.registry import HOOKS
from mmkd_logit.rng import side_rng


@HOOKS.register_module()
class TeacherCheckHook(Hook):
    """Compares the teacher's classes with the dataset's, and evaluates it once.

    A wrong teacher (other weights, normalization or class order) still returns logits,
    and distillation fails silently. This hook makes it fail loudly. If the teacher
    names its classes, they must be those of the training set in the same order, or be
    matched by the teacher's ``class_map``. Its metrics on the validation set, as far as
    they are numbers, are logged as ``teacher/<metric>`` before training. A resumed run
    does not repeat this. A teacher whose logits are stored is judged by its metrics at
    that time.

    Args:
        metric (str, optional): The metric to compare, such as 'accuracy/top1'.
            Defaults to None: metrics are only logged.
        minimum (float, optional): Smallest acceptable value of ``metric``.
            Defaults to None.

    Raises:
        ValueError: If only one of ``metric`` and ``minimum`` is given; when training
            starts, if the teacher has other classes or another class order, there is
            no validation set, no evaluator or no such number, or the teacher is below
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
        if isinstance(minimum, bool):
            raise ValueError(
                f'TeacherCheckHook.minimum must be a number, but got {minimum}.'
            )
        self.metric = metric
        self.minimum = minimum

    def before_run(self, runner: Runner) -> None:
        """Give the distiller the class names before it loads its teacher."""
        if isinstance(runner._train_loop, BaseLoop):  # it trains
            model = distiller_in(runner.model, type(self).__name__)
            model.class_names = class_names(runner.train_dataloader.dataset)

    def before_train(self, runner: Runner) -> None:
        """Evaluate the teacher, log its metrics, and compare them."""
        if runner.iter > 0:
            return
        model = distiller_in(runner.model, type(self).__name__)
        teacher = model.teacher
        for each in teacher.members.values():
            self._check_classes(runner, each)
        if runner.val_loop is None and not isinstance(teacher, StoredTeacher):
            raise ValueError(
                'TeacherCheckHook evaluates on the validation set, but the config has '
                'no val_dataloader. Add one, or set default_hooks.teacher_check=None.'
            )
        if isinstance(teacher, StoredTeacher):
            metrics = _stored_metrics(teacher)
        else:
            runner.logger.info(f'Evaluating {teacher.name} before training.')
            loop: Any = runner.val_loop
            if not hasattr(loop, 'evaluator'):
                raise ValueError(
                    'TeacherCheckHook evaluates as ValLoop does, but a '
                    f'{type(loop).__name__} has no evaluator. Set '
                    'default_hooks.teacher_check=None.'
                )
            # A data loader draws a seed: without this, dropout would differ.
            with side_rng():
                metrics = evaluate_teacher(model, loop.evaluator, loop.dataloader)
        runner.message_hub.update_info('teacher', metrics)
        if metrics:
            runner.visualizer.add_scalars(
                {f'teacher/{name}': value for name, value in metrics.items()}
            )
        shown = '  '.join(f'teacher/{name}: {v:.4f}' for name, v in metrics.items())
        runner.logger.info(shown or 'The evaluator gives no numbers.')
        if self.metric is None or self.minimum is None:
            return
        if self.metric not in metrics:
            raise ValueError(
                f'TeacherCheckHook.metric is {self.metric!r}, but the evaluator gives '
                f'{list(metrics)} as numbers.'
            )
        if 0 < self.minimum < 1 < metrics[self.metric]:
            raise ValueError(
                f'TeacherCheckHook.minimum is {self.minimum}, but {self.metric} is '
                f'{metrics[self.metric]:.2f}, in percent. Write '
                f'default_hooks.teacher_check.minimum={100 * self.minimum:g}.'
            )
        if not metrics[self.metric] >= self.minimum:
            raise ValueError(
                f'{teacher.name} with the weights {teacher.checkpoint} reaches '
                f'{self.metric}={metrics[self.metric]:.2f} on the validation set, '
                f'below the minimum of {self.minimum}. Check its weights, its '
                'data_preprocessor and the order of the classes, or lower '
                'default_hooks.teacher_check.minimum.'
            )

    def _check_classes(self, runner: Runner, teacher: Teacher | StoredTeacher) -> None:
        theirs, ours = teacher.classes, class_names(runner.train_dataloader.dataset)
        if not theirs or not ours or theirs == ours or teacher.class_map is not None:
            return
        found, missing = match_class_names(ours, theirs)
        if found == list(range(len(theirs))) and not missing:
            return  # other synonyms for the same classes
        differ = [i for i, pair in enumerate(zip(theirs, ours)) if len(set(pair)) > 1]
        first = differ[0] if differ else min(len(theirs), len(ours)) - 1
        what = (
            f'The {len(theirs)} classes of {teacher.name} are not the {len(ours)} of '
            f'the training set: {len(differ)} have another name, the first being class '
            f'{first}, {theirs[first]!r} there and {ours[first]!r} here.'
        )
        # A few different names for the same things are common; another order is fatal.
        same_set = set(theirs) == set(ours)
        if len(theirs) != len(ours) or same_set or 2 * len(differ) > len(ours):
            remedy = (
                "Set teacher.class_map='names'."
                if not missing
                else 'Use a teacher trained on these classes in this order, set the '
                "dataset's metainfo, or set teacher.class_map."
            )
            raise ValueError(
                f'{what} The student would learn the wrong classes. {remedy}'
            )
        runner.logger.warning(what)


def _stored_metrics(teacher: StoredTeacher) -> dict[str, float]:
    """Return the metrics that were measured when the logits were stored."""
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
    """Evaluate a distiller's teacher.

    Args:
        model (LogitDistiller): The distiller, with its teacher loaded.
        evaluator (Evaluator): mmengine's evaluator.
        loader (DataLoader): Loader of the validation set.

    Returns:
        dict[str, float]: The metrics that are numbers, as the evaluator names them.
    """
    for batch in loader:
        evaluator.process(data_samples=model.teacher_step(batch), data_batch=batch)
    metrics = plain_metrics(evaluator.evaluate(len(loader.dataset)))  # type: ignore[arg-type]
    # As in mmengine's log of a validation, lists are left out.
    return {name: float(v) for name, v in metrics.items() if isinstance(v, int | float)}


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Turn metrics into values that JSON and YAML can hold.

    Args:
        metrics (Mapping[str, Any]): As an evaluator gives them: numbers, tensors,
            arrays, lists or dicts of these.

    Returns:
        dict[str, Any]: Numbers, text, and lists and dicts of these. A tensor or array
        of one element is a number.
    """
    return {str(name): _plain(value) for name, value in metrics.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        flat = value.reshape(-1).tolist()
        return flat[0] if len(flat) == 1 else value.tolist()
    if isinstance(value, Mapping):
        return plain_metrics(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | None) else str(value)
