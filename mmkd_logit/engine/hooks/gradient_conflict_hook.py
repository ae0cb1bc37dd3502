"""Conflicts between the task gradient and the distillation gradient."""

from __future__ import annotations

import math
from functools import partial
from itertools import chain
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmkd_logit.dist import mean_over_ranks
from mmkd_logit.engine.optim_wrappers.two_gradients_optim_wrapper import gradients_of
from mmkd_logit.functional import gradient_cosine
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class GradientConflictHook(Hook):
    """Logs the cosine of task and distillation gradients in parts of the student.

    The parts are the student's ``classifier`` (its last layer), its ``backbone``, and
    each of its stages under its own name, such as ``layer1`` or ``stages.0``. Below 0,
    the two losses are in conflict there. ``grad_cos/<part>`` is the cosine and
    ``grad_conflict/<part>`` the share of conflicts among the steps measured so far,
    including those before a resume; both go to the log and to the visualizer.

    The gradients are those of the iteration's own forward pass, averaged over all
    processes. A measured iteration takes two more backward passes and memory for two
    more gradients; the others cost nothing. Training stays bitwise identical.

    A part that one of the two losses does not reach has no cosine and is not logged,
    such as DHKD's classifier, whose distillation loss acts on the auxiliary head.
    Nothing is measured while all distillation weights, or ``task_loss_weight``, are 0.

    Args:
        interval (int): Measure every so many iterations. Defaults to 50.

    Raises:
        ValueError: If ``interval`` is below 1, or, when training starts, if the
            student has no backbone, or neither it nor the classifier is trained; in
            the first step, if the student uses activation checkpointing, as
            ``with_cp=True`` does.

    Example:
        In a config::

            custom_hooks = [dict(type='mmkd_logit.GradientConflictHook')]
    """

    # So that a hook that copies the model before the step does not copy the listener.
    priority = 'LOWEST'

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be 1 or more, but got {interval}.')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Check the model, and find its parts."""
        self._parts = parts_of(distiller_in(runner.model, type(self).__name__))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Listen to the forward pass if this iteration is to be measured."""
        if self.every_n_train_iters(runner, self.interval):
            distiller = distiller_in(runner.model, type(self).__name__)
            measure = partial(self._measure, runner)
            self._handle = distiller.register_forward_hook(measure)

    def _measure(
        self, runner: Runner, distiller: LogitDistiller, args: tuple, losses: Any
    ) -> None:
        self._handle.remove()
        task, distill = distiller.split_losses(losses)
        if task is None or distill is None:
            return
        # In half precision, small gradients vanish without the step's loss scale.
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        # Some backbones freeze their first stages only once training has started.
        trained = {
            name: [param for param in part if param.requires_grad]
            for name, part in self._parts.items()
        }
        params = list(dict.fromkeys(chain(*trained.values())))
        grads: list[Tensor | None] = []
        with torch.autocast(task.device.type, enabled=False):
            for loss in (task, distill):
                scaled = loss if scaler is None else scaler.scale(loss)
                grads += gradients_of(scaled, params, type(self).__name__)
        grads = mean_over_ranks(grads, params * 2)
        pair = dict(zip(params, zip(grads, grads[len(params) :])))
        cosines = {
            name: float(gradient_cosine(*zip(*(pair[param] for param in part))))
            for name, part in trained.items()
            if part
        }
        finite = {name: cos for name, cos in cosines.items() if math.isfinite(cos)}
        if finite:
            self._log(runner, finite)

    def _log(self, runner: Runner, cosines: dict[str, float]) -> None:
        # Kept in the message hub, so that checkpoints include it.
        counts = dict(runner.message_hub.runtime_info.get('grad_conflict', {}))
        for name, cosine in cosines.items():
            conflicts, steps = counts.get(name, (0, 0))
            counts[name] = (conflicts + (cosine < 0), steps + 1)
        runner.message_hub.update_info('grad_conflict', counts)
        shares = {name: counts[name][0] / counts[name][1] for name in cosines}

        step = runner.iter + 1
        runner.visualizer.add_scalars(
            {'iter': step}
            | {f'grad_cos/{name}': cosine for name, cosine in cosines.items()}
            | {f'grad_conflict/{name}': share for name, share in shares.items()},
            step=step,
        )
        shown = '  '.join(
            f'{name}: {cosine:.4f} ({shares[name]:.0%})'
            for name, cosine in cosines.items()
        )
        runner.logger.info(f'Iter [{step}] gradient cosine (conflicts): {shown}')


def parts_of(distiller: LogitDistiller) -> dict[str, list[nn.Parameter]]:
    """Return the parts of a student to compare gradients in, with their parameters.

    Args:
        distiller (LogitDistiller): The student's distiller.

    Returns:
        dict[str, list[nn.Parameter]]: ``classifier``, ``backbone``, and the stages of
        the backbone: its children except single layers, and the members of a child
        that is a list of stages. Only trained parameters.

    Raises:
        ValueError: If the student has no backbone, or nothing is trained.
    """
    student = distiller.student
    backbone = getattr(student, 'backbone', None)
    if backbone is None:
        raise ValueError(
            f'GradientConflictHook compares gradients in the backbone, but '
            f'{type(student).__name__} has none. Remove the hook from this config.'
        )
    modules = {
        'classifier': student.get_submodule(distiller.logit_layer),
        'backbone': backbone,
    }
    for name, child in backbone.named_children():
        if isinstance(child, nn.ModuleList) or name in ('layers', 'stages'):
            modules |= {f'{name}.{i}': stage for i, stage in child.named_children()}
        elif any(True for _ in child.children()):
            modules[name] = child
    trained = {
        name: [p for p in module.parameters() if p.requires_grad]
        for name, module in modules.items()
    }
    parts = {name: part for name, part in trained.items() if part}
    if not parts:
        raise ValueError(
            'GradientConflictHook compares gradients, but neither the classifier nor '
            'the backbone of the student is trained. Remove the hook from this config.'
        )
    return parts
