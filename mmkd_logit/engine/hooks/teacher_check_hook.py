"""Evaluates the teacher before a student learns from it."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd_logit.engine.distiller_of import distiller_of
from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class TeacherCheckHook(Hook):
    """Evaluates the teacher once on the validation set, before training.

    A teacher that is wrong (other weights, other normalization, other order of the
    classes) still gives logits, and distillation quietly fails. This makes it loud.
    The metrics are logged as ``teacher/<metric>``. A resumed run does not repeat it.

    Args:
        metric (str, optional): The metric that is compared, as 'accuracy/top1'.
            Defaults to None: it is only logged.
        minimum (float, optional): Smallest value of ``metric`` to go on with.
            Defaults to None.

    Raises:
        ValueError: If only one of ``metric`` and ``minimum`` is given; when training
            starts, if there is no validation set or no such metric, or the teacher
            is below ``minimum``.

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
        if runner.val_dataloader is None:
            raise ValueError(
                'TeacherCheckHook evaluates on the validation set, but the config has '
                'no val_dataloader. Add one, or set default_hooks.teacher_check=None.'
            )
        metrics = self._evaluate(runner)
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
            teacher = distiller_of(runner, type(self).__name__).teacher
            raise ValueError(
                f'{teacher.name} with the weights {teacher.checkpoint} reaches '
                f'{self.metric}={metrics[self.metric]:.2f} on the validation set, '
                f'below the minimum of {self.minimum}. Check its weights, its '
                'data_preprocessor and the order of the classes, or set '
                'default_hooks.teacher_check.minimum.'
            )

    @torch.no_grad()
    def _evaluate(self, runner: Runner) -> dict[str, float]:
        model = distiller_of(runner, type(self).__name__)
        evaluator = runner.val_loop.evaluator
        loader = runner.val_loop.dataloader
        runner.logger.info(f'Evaluating {model.teacher.name} before training.')
        for batch in loader:
            data = model.data_preprocessor(batch, False)
            samples = model.teacher.predict(data['inputs'], data['data_samples'])
            evaluator.process(data_samples=samples, data_batch=batch)
        return evaluator.evaluate(len(loader.dataset))
