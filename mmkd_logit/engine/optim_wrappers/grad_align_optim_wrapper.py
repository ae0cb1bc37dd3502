"""DHKD's gradient alignment, as an optimizer wrapper of mmengine."""

from __future__ import annotations

from typing import Any

from mmengine.optim import AmpOptimWrapper
from torch import Tensor
from torch.optim import Optimizer

from mmkd_logit.engine.optim_wrappers.two_gradients_optim_wrapper import (
    TwoGradientsOptimWrapper,
)
from mmkd_logit.functional.align_gradients import align_gradients, check_scope
from mmkd_logit.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class GradAlignOptimWrapper(TwoGradientsOptimWrapper):
    """Removes the distillation gradient's component opposing the task gradient.

    The step of a :class:`LogitDistiller` then follows
    :func:`mmkd_logit.functional.align_gradients`. It takes two backward passes, and
    memory for two more gradients. Clipping, momentum and weight decay act on the
    merged gradient. With gradient accumulation, both are accumulated separately and
    merged once. With several processes, both are averaged in one packed all-reduce
    before they are merged, so the gradients of the whole batch are aligned. While all
    distillation weights, or ``task_loss_weight``, are 0, there is nothing to align and
    the step is a plain one.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        optimizer (Optimizer): The optimizer; in a config, its settings.
        scope (str): 'all': every parameter takes part, as in the authors' code; or
            'shared': only those that both losses reach, while the others get the sum
            of their gradients. Defaults to 'all'.
        **kwargs: Arguments of mmengine's ``OptimWrapper``: ``accumulative_counts`` and
            ``clip_grad``.

    Raises:
        ValueError: If ``scope`` is unknown; in the first step, if the student uses
            activation checkpointing (``with_cp=True``).
        TypeError: When training starts, if the model is not a
            :class:`LogitDistiller`, or is wrapped in anything other than
            ``MMDistributedDataParallel``.
        RuntimeError: If ``update_params`` is called outside of a training step.

    Example:
        In a config::

            optim_wrapper = dict(
                type='mmkd_logit.GradAlignOptimWrapper',
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
    """

    def __init__(self, optimizer: Optimizer, scope: str = 'all', **kwargs: Any) -> None:
        super().__init__(optimizer=optimizer, **kwargs)
        check_scope(scope)
        self.scope = scope

    def _take(
        self, task: list[Tensor | None], distill: list[Tensor | None]
    ) -> list[Tensor | None]:
        return align_gradients(task, distill, self.scope)


@OPTIM_WRAPPERS.register_module()
class GradAlignAmpOptimWrapper(GradAlignOptimWrapper, AmpOptimWrapper):
    """:class:`GradAlignOptimWrapper` in mixed precision.

    Both losses have the same scale, so the merged gradient has it too. If the gradient
    of either loss overflows, the scaler skips the step.

    Args:
        optimizer (Optimizer): The optimizer; in a config, its settings.
        scope (str): As in :class:`GradAlignOptimWrapper`. Defaults to 'all'.
        **kwargs: Arguments of mmengine's ``AmpOptimWrapper``: ``loss_scale``,
            ``dtype``, ``accumulative_counts`` and ``clip_grad``.
    """
