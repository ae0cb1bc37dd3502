"""Base class of optimizer wrappers that keep two gradients separate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from mmkd_logit.dist import mean_over_ranks
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.modules.losses.base import touch


class TwoGradientsOptimWrapper(OptimWrapper):
    """Base of the wrappers that handle task and distillation gradients separately.

    The step takes two backward passes, and memory for two more gradients. They are
    accumulated separately, and averaged over processes in one packed all-reduce. While
    all distillation weights, or ``task_loss_weight``, are 0, there is only one gradient
    and the step is a plain one. Where no image of a batch has a label, the task
    gradient is 0. In mixed precision, both have the same scale.

    Args:
        optimizer (Optimizer): The optimizer.
        **kwargs: Arguments of mmengine's ``OptimWrapper``: ``accumulative_counts`` and
            ``clip_grad``.

    Raises:
        TypeError: When training starts, if the model is not a
            :class:`LogitDistiller`, or is wrapped in anything other than
            ``MMDistributedDataParallel``.
        RuntimeError: If ``update_params`` is called outside of a training step.
        ValueError: In the first step, if the student uses activation checkpointing, as
            ``with_cp=True`` does.
    """

    def __init__(self, optimizer: Optimizer, **kwargs: Any) -> None:
        super().__init__(optimizer=optimizer, **kwargs)
        self._losses: tuple[Tensor | None, Tensor | None, Tensor] | None = None
        self._distill: list[Tensor | None] | None = None

    def initialize_count_status(
        self, model: nn.Module, init_counts: int, max_counts: int
    ) -> None:
        """Check the model, and start counting; called when training starts.

        Args:
            model (nn.Module): The distiller, in its wrapper if it has one.
            init_counts (int): Iterations already done.
            max_counts (int): Total number of iterations.
        """
        self._distiller_in(model)
        super().initialize_count_status(model, init_counts, max_counts)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Keep both losses of the forward pass, without reducing gradients over ranks.

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
            # After a pass in no_sync(), DDP would not broadcast buffers in the next.
            model.require_forward_param_sync = True

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict | None = None,
        zero_kwargs: dict | None = None,
    ) -> None:
        """Run the backward passes and, unless gradients are accumulated, a step.

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
        # DDP has prepared the incoming sum for a backward pass of its own.
        (task, distill, loss), self._losses = self._losses, None
        if task is not None and distill is not None:
            grads = gradients_of(
                self._scaled(self.scale_loss(distill)),
                self._parameters(),
                type(self).__name__,
            )
            self._distill = add_gradients(self._distill, grads)
            loss = task
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs: Any) -> None:
        """Combine both gradients as the method does, then clip them and step.

        Args:
            **kwargs: Arguments of ``optimizer.step``.
        """
        params = self._parameters()
        task: list[Tensor | None] = [param.grad for param in params]
        distill, self._distill = self._distill or [None] * len(params), None
        grads = mean_over_ranks(task + distill, params * 2)
        task, distill = grads[: len(params)], grads[len(params) :]
        for param, grad in zip(params, self._take(task, distill)):
            param.grad = grad
        super().step(**kwargs)

    @abstractmethod
    def _take(
        self, task: list[Tensor | None], distill: list[Tensor | None]
    ) -> list[Tensor | None]:
        """Return the gradients of the parameters for the optimizer.

        Args:
            task (list[Tensor | None]): Gradients of the task loss, over all processes;
                None where it does not reach. In a plain step, those of all losses.
            distill (list[Tensor | None]): Gradients of the distillation loss. In a
                plain step, all are None.

        Returns:
            list[Tensor | None]: One per parameter.
        """

    def _parameters(self) -> list[nn.Parameter]:
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group['params'] if p.requires_grad]

    def _keep(self, distiller: LogitDistiller, args: tuple, losses: Any) -> None:
        total, _ = distiller.parse_losses(losses)
        task, distill = distiller.split_losses(losses)
        if task is None and distiller.task_loss_weight != 0:
            # Images without labels: others, in another process, may have some.
            task = total.new_zeros(()) + touch(distiller.student)
        self._losses = task, distill, total

    def _scaled(self, loss: Tensor) -> Tensor:
        """Apply the loss scale, as ``backward`` does."""
        if isinstance(self, AmpOptimWrapper):
            return self.loss_scaler.scale(loss)
        return loss

    def _distiller_in(self, model: nn.Module) -> LogitDistiller:
        distiller = distiller_in(
            model,
            type(self).__name__,
            "Set optim_wrapper.type='OptimWrapper' in this config.",
        )
        if model is not distiller and not isinstance(model, DistributedDataParallel):
            raise TypeError(
                f'{type(self).__name__} needs unsharded parameters in each process, '
                f'but the model is wrapped in {type(model).__name__}. Set '
                "model_wrapper_cfg=dict(type='MMDistributedDataParallel')."
            )
        return distiller


def gradients_of(
    loss: Tensor, params: Sequence[nn.Parameter], who: str
) -> list[Tensor | None]:
    """Return the gradients of one of several losses, and keep the graph for the others.

    Args:
        loss (Tensor): Scalar.
        params (Sequence[Parameter]): The parameters.
        who (str): Name of the caller, for the message.

    Returns:
        list[Tensor | None]: One per parameter, None where the loss does not reach.

    Raises:
        ValueError: If the model uses activation checkpointing.
    """
    try:
        grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if 'checkpoint' not in str(error).lower():
            raise
        raise ValueError(
            f'{who} needs the gradients of two losses of one forward pass, which torch '
            'cannot compute with activation checkpointing. Turn that off in the '
            'student (with_cp, use_checkpoint, activation_checkpointing), or remove '
            f'{who}.'
        ) from error
    return list(grads)


def add_gradients(
    kept: Sequence[Tensor | None] | None, grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Add gradients; not in place, because two parameters can share one."""
    if kept is None:
        return list(grads)
    return [b if a is None else a if b is None else a + b for a, b in zip(kept, grads)]
