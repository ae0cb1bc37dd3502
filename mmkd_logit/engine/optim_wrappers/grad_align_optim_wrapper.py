"""DHKD's gradient alignment, as a step of mmengine's optimizer wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from mmkd_logit.dist import mean_over_ranks
from mmkd_logit.functional import align_gradients
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.registry import OPTIM_WRAPPERS

_SCOPES = ('all', 'shared')


@OPTIM_WRAPPERS.register_module()
class GradAlignOptimWrapper(OptimWrapper):
    """Takes from the distillation gradient what works against the task gradient.

    The step of a :class:`LogitDistiller` then follows
    :func:`mmkd_logit.functional.align_gradients`. It takes two backward passes, and
    memory for two more gradients. Clipping, momentum and weight decay act on the
    merged gradient, and gradients are accumulated apart and merged once. Several
    processes align the gradients of the whole batch: they are averaged, in one packed
    all-reduce, before they are merged. While all distillation weights are 0, or
    ``task_loss_weight`` is, there is nothing to align: the step is a plain one.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        optimizer (Optimizer): The optimizer; in a config, its settings.
        scope (str): 'all': every parameter takes part, as in the authors' code; or
            'shared': only those that both losses reach, while the others get the sum
            of their gradients. Defaults to 'all'.
        **kwargs: Those of mmengine's ``OptimWrapper``: ``accumulative_counts`` and
            ``clip_grad``.

    Raises:
        ValueError: If ``scope`` is unknown.
        TypeError: When training starts, if the model is not a
            :class:`LogitDistiller`, or is wrapped in something else than
            ``MMDistributedDataParallel``.
        RuntimeError: If ``update_params`` is called outside of a training step; by
            torch, if the student recomputes its activations (``with_cp=True``).

    Example:
        In a config::

            optim_wrapper = dict(
                type='mmkd_logit.GradAlignOptimWrapper',
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
    """

    def __init__(self, optimizer: Optimizer, scope: str = 'all', **kwargs: Any) -> None:
        super().__init__(optimizer=optimizer, **kwargs)
        if scope not in _SCOPES:
            raise ValueError(f"scope must be 'all' or 'shared', but got {scope!r}.")
        self.scope = scope
        self._losses: tuple[Tensor | None, Tensor | None, Tensor] | None = None
        self._distill: list[Tensor | None] | None = None

    def initialize_count_status(
        self, model: nn.Module, init_counts: int, max_counts: int
    ) -> None:
        """Check the model, and start to count; called when training starts.

        Args:
            model (nn.Module): The distiller, in its wrapper if it has one.
            init_counts (int): Iterations done before.
            max_counts (int): Iterations of the whole training.
        """
        self._distiller_in(model)
        super().initialize_count_status(model, init_counts, max_counts)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Keep the two losses of the forward pass; its gradients stay in the process.

        Args:
            model (nn.Module): The distiller, in its wrapper if it has one.
        """
        distiller = self._distiller_in(model)
        with ExitStack() as stack:
            handle = distiller.register_forward_hook(self._keep)
            stack.callback(handle.remove)
            if isinstance(model, DistributedDataParallel):
                stack.enter_context(model.no_sync())
            stack.enter_context(super().optim_context(model))
            yield
        if isinstance(model, DistributedDataParallel):
            # A forward pass in no_sync() tells it not to send buffers with the next.
            model.require_forward_param_sync = True

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict | None = None,
        zero_kwargs: dict | None = None,
    ) -> None:
        """Backward passes and, unless gradients are accumulated, a step.

        Args:
            loss (Tensor): Sum of all losses of the step.
            step_kwargs (dict, optional): Arguments of ``optimizer.step``. Defaults to
                None.
            zero_kwargs (dict, optional): Arguments of ``optimizer.zero_grad``.
                Defaults to None.
        """
        if self._losses is None:
            raise RuntimeError(
                f'{type(self).__name__} needs the two losses of a training step of a '
                'LogitDistiller: call update_params once after each forward pass '
                'within optim_context, as train_step does.'
            )
        # DDP has laid hands on the sum that comes in, for a backward pass of its own.
        (task, distill, loss), self._losses = self._losses, None
        if task is not None and distill is not None:
            grads = torch.autograd.grad(
                self._scaled(self.scale_loss(distill)),
                self._parameters(),
                retain_graph=True,
                allow_unused=True,
            )
            self._distill = _sums(self._distill, grads)
            loss = task
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs: Any) -> None:
        """Merge the gradients, then clip them and step.

        Args:
            **kwargs: Arguments of ``optimizer.step``.
        """
        params = self._parameters()
        task: list[Tensor | None] = [param.grad for param in params]
        distill, self._distill = self._distill or [None] * len(params), None
        grads = mean_over_ranks(task + distill, params * 2)
        task, distill = grads[: len(params)], grads[len(params) :]
        for param, grad in zip(params, self._merge(task, distill)):
            param.grad = grad
        super().step(**kwargs)

    def _merge(
        self, task: list[Tensor | None], distill: list[Tensor | None]
    ) -> list[Tensor | None]:
        if self.scope == 'all':
            return align_gradients(task, distill)
        shared = [None if b is None else a for a, b in zip(task, distill)]
        merged = align_gradients(shared, distill)
        return [a if grad is None else grad for a, grad in zip(task, merged)]

    def _parameters(self) -> list[nn.Parameter]:
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group['params'] if p.requires_grad]

    def _keep(self, distiller: LogitDistiller, args: tuple, losses: Any) -> None:
        total, _ = distiller.parse_losses(losses)
        self._losses = *distiller.split_losses(losses), total

    def _scaled(self, loss: Tensor) -> Tensor:
        """Of the same size as what ``backward`` takes the gradient of."""
        return loss

    def _distiller_in(self, model: nn.Module) -> LogitDistiller:
        distiller = distiller_in(
            model,
            type(self).__name__,
            "Set optim_wrapper.type='OptimWrapper' in this config.",
        )
        if model is not distiller and not isinstance(model, DistributedDataParallel):
            raise TypeError(
                f'{type(self).__name__} needs every parameter whole in each process, '
                f'but the model is wrapped in {type(model).__name__}. Set '
                "model_wrapper_cfg=dict(type='MMDistributedDataParallel')."
            )
        return distiller


@OPTIM_WRAPPERS.register_module()
class GradAlignAmpOptimWrapper(GradAlignOptimWrapper, AmpOptimWrapper):
    """:class:`GradAlignOptimWrapper` in mixed precision.

    Both losses have the same scale, so the merged gradient has it too. A gradient that
    overflows, of whichever loss, makes the scaler skip the step.

    Args:
        optimizer (Optimizer): The optimizer; in a config, its settings.
        scope (str): As of :class:`GradAlignOptimWrapper`. Defaults to 'all'.
        **kwargs: Those of mmengine's ``AmpOptimWrapper``: ``loss_scale``, ``dtype``,
            ``accumulative_counts`` and ``clip_grad``.
    """

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.loss_scaler.scale(loss)


def _sums(
    kept: list[Tensor | None] | None, grads: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Add gradients; not in place, for two parameters can share one."""
    if kept is None:
        return list(grads)
    return [b if a is None else a if b is None else a + b for a, b in zip(kept, grads)]
