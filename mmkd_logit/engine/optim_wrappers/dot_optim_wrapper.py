"""DOT, two momenta for two gradients, as an optimizer wrapper of mmengine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Optimizer

from mmkd_logit.compat import run_step_hooks
from mmkd_logit.engine.optim_wrappers.two_gradients_optim_wrapper import (
    TwoGradientsOptimWrapper,
    add_gradients,
)
from mmkd_logit.functional._checks import check_finite
from mmkd_logit.registry import OPTIM_WRAPPERS

_TASK, _DISTILL = 'momentum_buffer', 'distill_momentum_buffer'


@OPTIM_WRAPPERS.register_module()
class DOTOptimWrapper(TwoGradientsOptimWrapper):
    r"""Gives the distillation gradient more momentum than the task gradient.

    With the optimizer's momentum :math:`\mu`, a parameter that both reach moves by

    .. math::
        v_1 \leftarrow (\mu - \Delta) v_1 + g_1 + \lambda \theta, \qquad
        v_2 \leftarrow (\mu + \Delta) v_2 + g_2, \qquad
        \theta \leftarrow \theta - \eta (v_1 + v_2)

    Weight decay :math:`\lambda` belongs to the task momentum :math:`v_1`, as in the
    released code. A parameter that only one gradient reaches moves as with plain SGD;
    if that is the distillation gradient, it gets no weight decay in its first step, as
    in the released code.

    A step takes two backward passes, and memory for a second momentum, which is saved
    in checkpoints. The gradients are accumulated separately, and averaged over
    processes in one packed all-reduce. ``clip_grad`` clips the norm of their sum and
    scales both by the same factor. While all distillation weights, or
    ``task_loss_weight``, are 0, the step is one of plain SGD, which leaves the second
    momentum as it is.

    Without noise, a step moves by :math:`1 / (1 - \mu \pm \Delta)` times a gradient: a
    large :math:`\Delta` gives distillation more weight. Compare with plain SGD whose
    ``loss_weight`` is larger by the same ratio.

    Source: https://openaccess.thecvf.com/content/ICCV2023/papers/Zhao_DOT_A_Distillation-Oriented_Trainer_ICCV_2023_paper.pdf

    Args:
        optimizer (SGD): The optimizer, with momentum; in a config, its settings.
        delta (float): :math:`\Delta`, 0 or more, such that both momenta stay at 0 or
            more and below 1. The authors use 0.075 on CIFAR-100 and 0.09 on ImageNet.
            Defaults to 0.075.
        **kwargs: Arguments of mmengine's ``OptimWrapper``: ``accumulative_counts`` and
            ``clip_grad``, by norm.

    Raises:
        ValueError: If ``delta`` does not fit a momentum, or a setting of the optimizer
            or of ``clip_grad`` has no meaning for two momenta; in the first step, if
            the student uses activation checkpointing (``with_cp=True``).
        TypeError: If the optimizer is not SGD; when training starts, if the model is
            not a :class:`LogitDistiller`, or is wrapped in anything other than
            ``MMDistributedDataParallel``.
        RuntimeError: If the step is compiled, or ``update_params`` is called outside
            of one.

    Example:
        In a config::

            optim_wrapper = dict(
                type='mmkd_logit.DOTOptimWrapper',
                delta=0.075,
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
    """

    def __init__(
        self, optimizer: Optimizer, delta: float = 0.075, **kwargs: Any
    ) -> None:
        super().__init__(optimizer=optimizer, **kwargs)
        check_finite('delta', delta)
        self.delta = delta
        self._check_optimizer()
        self._apart: list[Tensor | None] = []
        run_step_hooks(SGD)
        optimizer.register_step_pre_hook(self._move)

    def _check_optimizer(self) -> None:
        who = type(self).__name__
        if not isinstance(self.optimizer, SGD):
            raise TypeError(
                f'{who} gives SGD two momenta, but the optimizer is a '
                f"{type(self.optimizer).__name__}. Set optimizer=dict(type='SGD', "
                "momentum=0.9, ...), or set optim_wrapper.type='OptimWrapper'."
            )
        for group in self.optimizer.param_groups:
            momentum = group['momentum']
            if not (0 <= self.delta <= momentum and momentum + self.delta < 1):
                raise ValueError(
                    f'{who} needs 0 <= delta <= momentum and momentum + delta < 1, but '
                    f'got delta={self.delta} and momentum={momentum}.'
                )
            for name in ('nesterov', 'maximize', 'fused', 'differentiable'):
                if group.get(name):
                    raise ValueError(
                        f'DOT is not defined for SGD with {name}=True. Remove it from '
                        'the optimizer.'
                    )
        if self.clip_grad_kwargs and self.clip_func is not clip_grad_norm_:
            raise ValueError(
                f'{who} clips the norm of the sum of both gradients, and cannot clip '
                'values. Set clip_grad=dict(max_norm=...).'
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Keep both losses of the forward pass, without reducing gradients over ranks.

        Args:
            model (nn.Module): The distiller, in its wrapper if it has one.
        """
        if hasattr(getattr(model, 'train_step', None), '_torchdynamo_orig_callable'):
            raise RuntimeError(
                f'The train_step is compiled, but {type(self).__name__} applies two '
                'gradients in an optimizer hook, which torch.compile does not see. '
                'Remove compile from the config.'
            )
        with super().optim_context(model):
            yield

    def _take(
        self, task: list[Tensor | None], distill: list[Tensor | None]
    ) -> list[Tensor | None]:
        if isinstance(self, AmpOptimWrapper):
            unscale = 1 / self.loss_scaler.get_scale()
            distill = [None if grad is None else grad * unscale for grad in distill]
            task = _poison(task, distill)
        self._apart = distill
        return task

    def _clip_grad(self) -> None:
        """Scale both gradients by the factor that clips the norm of their sum."""
        params = self._parameters()
        both = add_gradients([param.grad for param in params], self._apart)
        # Tensors that share memory with the parameters, but have their own gradients.
        stand_ins = [param.detach() for param in params]
        for stand_in, grad in zip(stand_ins, both):
            stand_in.grad = grad if grad is None else grad.clone()
        norm = self.clip_func(stand_ins, **self.clip_grad_kwargs)
        self.message_hub.update_scalar(f'train/{self.grad_name}', float(norm))
        factor = (self.clip_grad_kwargs['max_norm'] / (norm + 1e-6)).clamp(max=1)
        for param in params:
            param.grad = None if param.grad is None else param.grad * factor
        self._apart = [None if grad is None else grad * factor for grad in self._apart]

    @torch.no_grad()
    def _move(self, optimizer: Optimizer, *_: Any) -> None:
        """Move the parameters instead of SGD, which finds no gradient afterwards.

        It is not called if a gradient scaler skips the step.
        """
        apart = dict(zip(self._parameters(), self._apart))
        self._apart = []
        for group in optimizer.param_groups:
            for param in group['params']:
                task, distill = param.grad, apart.get(param)
                param.grad = None
                both = task is not None and distill is not None
                for name, grad, off in (
                    (_TASK, task, -self.delta),
                    (_DISTILL, distill, self.delta),
                ):
                    if grad is None:
                        continue
                    state, decay = optimizer.state[param], group['weight_decay']
                    first = state.get(name) is None
                    if decay and (name == _TASK or not (both or first)):
                        grad = grad.add(param, alpha=decay)
                    if first:
                        state[name] = grad.clone()
                    else:
                        momentum = group['momentum'] + (off if both else 0)
                        share = 1 - group['dampening']
                        state[name].mul_(momentum).add_(grad, alpha=share)
                for name, grad in ((_TASK, task), (_DISTILL, distill)):
                    if grad is not None:
                        param.add_(optimizer.state[param][name], alpha=-group['lr'])


@OPTIM_WRAPPERS.register_module()
class DOTAmpOptimWrapper(DOTOptimWrapper, AmpOptimWrapper):
    """:class:`DOTOptimWrapper` in mixed precision.

    If the gradient of either loss overflows, the scaler skips the step.

    Args:
        optimizer (SGD): The optimizer, with momentum; in a config, its settings.
        delta (float): As in :class:`DOTOptimWrapper`. Defaults to 0.075.
        **kwargs: Arguments of mmengine's ``AmpOptimWrapper``: ``loss_scale``,
            ``dtype``, ``accumulative_counts`` and ``clip_grad``, by norm.
    """


def _poison(
    grads: list[Tensor | None], others: list[Tensor | None]
) -> list[Tensor | None]:
    """Make the first gradient NaN if another is not finite, for the scaler to see."""
    sums = [other.sum(dtype=torch.float64) for other in others if other is not None]
    place = next((i for i, grad in enumerate(grads) if grad is not None), None)
    if not sums or place is None:
        return grads
    first = grads[place]
    assert first is not None
    poisoned = first + (torch.stack(sums).sum() * 0).to(first.dtype)
    return [*grads[:place], poisoned, *grads[place + 1 :]]
