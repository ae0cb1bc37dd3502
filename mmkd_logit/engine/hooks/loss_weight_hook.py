"""Schedule of the weights of the distillation losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmengine.runner import Runner

from mmkd_logit.engine.hooks.loss_schedule_hook import LossScheduleHook
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class LossWeightHook(LossScheduleHook):
    """Ramps up and stops distillation losses, by epoch or by iteration.

    A loss has the weight 0 before ``begin`` and from ``end`` on. In between its
    ``loss_weight`` is multiplied by ``(t - begin + 1) / warmup`` for the first
    ``warmup`` steps, then by 1. Steps are counted from 0, as in mmengine's parameter
    schedulers. While all weights are 0 the teacher is not run. The factors of several
    hooks on one loss multiply, such as those of a warm-up and an ``end``.

    Args:
        names (Sequence[str], optional): Names of the losses in the distiller. Defaults
            to None: all of them.
        begin (int): First step with the loss. Defaults to 0.
        end (int, optional): First step without it. Defaults to None: never.
        warmup (int): Steps until the full weight. Defaults to 0.
        by_epoch (bool): Whether a step is an epoch or an iteration. Defaults to True.

    Raises:
        ValueError: If the numbers are negative or ``end`` is not after ``begin``, or,
            when training starts, if the distiller has no loss of such a name, or the
            training loop counts iterations and so has no epochs.

    Example:
        Distil in the first 49 epochs only::

            custom_hooks = [dict(type='mmkd_logit.LossWeightHook', end=49)]
    """

    settings = 'begin, end and warmup'

    def __init__(
        self,
        names: Sequence[str] | str | None = None,
        begin: int = 0,
        end: int | None = None,
        warmup: int = 0,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(names, by_epoch)
        if begin < 0 or warmup < 0 or (end is not None and end <= begin):
            raise ValueError(
                'LossWeightHook needs 0 <= begin < end and warmup >= 0, but got '
                f'begin={begin}, end={end}, warmup={warmup}.'
            )
        self.begin = begin
        self.end = end
        self.warmup = warmup

    def factor(self, step: int) -> float:
        """Return the factor for the weights at a step.

        Args:
            step (int): Epoch or iteration, counted from 0.

        Returns:
            float: From 0 to 1.
        """
        if step < self.begin or (self.end is not None and step >= self.end):
            return 0.0
        if self.warmup == 0:
            return 1.0
        return min((step - self.begin + 1) / self.warmup, 1.0)

    def schedule(self, runner: Runner) -> None:
        """Set the weights of this step."""
        distiller = distiller_in(runner.model, type(self).__name__)
        hooks = [hook for hook in runner.hooks if isinstance(hook, LossWeightHook)]
        for name, loss in distiller.named_losses():
            factors = [
                hook.factor(hook.step(runner))
                for hook in hooks
                if hook.names is None or name in hook.names
            ]
            if factors:
                loss.schedule = math.prod(factors)
        if not distiller.distils:
            # While the teacher is not run, the log would repeat the last value forever.
            scalars = runner.message_hub.log_scalars
            begins = ('train/teacher_agreement', 'train/kendall_tau')
            for key in [key for key in scalars if key.startswith(begins)]:
                del scalars[key]
