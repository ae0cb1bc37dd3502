"""DHKD's gradient alignment for custom training loops."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmkd_logit.dist import mean_over_ranks
from mmkd_logit.functional import align_gradients


def align_backward(
    task: Tensor,
    distill: Tensor,
    parameters: Iterable[nn.Parameter],
    scope: str = 'all',
) -> None:
    """Compute and align the gradients of two losses, in place of ``backward()``.

    Existing values of ``grad`` are overwritten, not added to. In mixed precision, pass
    both losses as scaled by the ``GradScaler``. Under ``DistributedDataParallel``, run
    the forward pass in its ``no_sync()``: gradients are averaged here, in one packed
    all-reduce, before they are aligned.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        task (Tensor): The task loss, a scalar.
        distill (Tensor): The weighted distillation loss, a scalar.
        parameters (Iterable[nn.Parameter]): The trained parameters, including
            those of the auxiliary head.
        scope (str): As in :func:`mmkd_logit.functional.align_gradients`. Defaults to
            'all'.

    Raises:
        ValueError: If ``scope`` is unknown.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import align_backward
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> align_backward(weight[0], 3 * weight[1] - 2 * weight[0], [weight])
        >>> weight.grad
        tensor([1., 3.])
    """
    params = [param for param in parameters if param.requires_grad]
    first, second = (
        torch.autograd.grad(loss, params, retain_graph=keep, allow_unused=True)
        for loss, keep in ((task, True), (distill, False))
    )
    grads = mean_over_ranks([*first, *second], params * 2)
    merged = align_gradients(grads[: len(params)], grads[len(params) :], scope)
    for param, grad in zip(params, merged):
        param.grad = grad
