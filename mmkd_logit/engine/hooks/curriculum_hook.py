"""Schedule of how fast a temperature is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmengine.runner import Runner

from mmkd_logit.engine.hooks.loss_schedule_hook import LossScheduleHook
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.modules.losses import CTKDLoss
from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class CurriculumHook(LossScheduleHook):
    r"""Ramps up how fast the temperature of a :class:`CTKDLoss` is learned.

    The gradient of the temperature is multiplied by

    .. math::
        \lambda(e) = -\tfrac12 \Bigl( 1 - \cos \frac{\pi \min(e, K)}{K} \Bigr)

    in step :math:`e`, counted from 1 as in the released code. It goes from 0, which
    keeps the temperature fixed, to -1 from step :math:`K` on.

    Source: https://arxiv.org/abs/2211.16231

    Args:
        length (int): :math:`K`; the authors use 10 epochs on CIFAR-100 and 5 on
            ImageNet. Defaults to 10.
        names (Sequence[str], optional): Names of the losses in the distiller. Defaults
            to None: all that learn a temperature.
        by_epoch (bool): Whether a step is an epoch or an iteration. Defaults to True.

    Raises:
        ValueError: If ``length`` is not an integer of 1 or more, or, when training
            starts, if the distiller has no such loss, or the training loop counts
            iterations and so has no epochs.

    Example:
        In a config::

            custom_hooks = [dict(type='mmkd_logit.CurriculumHook', length=10)]
    """

    settings = 'length'

    def __init__(
        self,
        length: int = 10,
        names: Sequence[str] | str | None = None,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(names, by_epoch)
        if not isinstance(length, int) or length < 1:
            raise ValueError(
                f'length must be an integer of 1 or more, but got {length!r}.'
            )
        self.length = length

    def reversal(self, step: int) -> float:
        """Return the factor for the temperature's gradient.

        Args:
            step (int): Epoch or iteration, counted from 1.

        Returns:
            float: From 0 to -1.
        """
        done = min(step, self.length) / self.length
        return -(1 - math.cos(math.pi * done)) / 2

    def before_train(self, runner: Runner) -> None:
        """Check that there is such a loss, and schedule the first step."""
        super().before_train(runner)
        if not self._losses(runner):
            raise ValueError(
                'CurriculumHook needs a CTKDLoss in the distiller, listed in names if '
                f'that is set, but there is none for names={self.names}.'
            )

    def schedule(self, runner: Runner) -> None:
        """Set the factor of this step."""
        for loss in self._losses(runner):
            loss.reversal = self.reversal(self.step(runner) + 1)

    def _losses(self, runner: Runner) -> list[CTKDLoss]:
        named = distiller_in(runner.model, type(self).__name__).named_losses()
        return [
            loss
            for name, loss in named
            if isinstance(loss, CTKDLoss) and (self.names is None or name in self.names)
        ]
