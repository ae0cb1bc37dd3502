"""Recording of the last layer of a model during one forward pass."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn


class LogitTap:
    """Records the input and output of a layer during one forward pass.

    The hook is on the layer only inside the ``with`` block, so copies of the model,
    validation and export never see it.

    Args:
        layer (nn.Module): The layer that outputs the logits.
        name (str): Its name, for messages.

    Raises:
        RuntimeError: If the layer runs without gradients, although the block has them;
            at the end of the block, if it did not run exactly once.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitTap
        >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> with LogitTap(model[1], name='1') as tap:
        ...     _ = model(torch.ones(3, 4))
        >>> tap.feature.shape, tap.logits.shape
        (torch.Size([3, 4]), torch.Size([3, 2]))
    """

    feature: Tensor
    logits: Tensor

    def __init__(self, layer: nn.Module, name: str) -> None:
        self._layer = layer
        self._name = name
        self._calls = 0

    def __enter__(self) -> LogitTap:
        self._with_grad = torch.is_grad_enabled()
        self._handle = self._layer.register_forward_hook(self._keep)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.remove()
        if error is None and self._calls != 1:
            raise RuntimeError(
                f'The last layer {self._name!r} must run once in a training step, but '
                f'ran {self._calls} times. Set logit_layer to the layer whose logits '
                'go into the task loss.'
            )

    def _keep(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self._with_grad and not torch.is_grad_enabled():
            raise RuntimeError(
                f'The last layer {self._name!r} runs without gradients, so no loss on '
                'its logits would train anything: it is inside of a module with '
                'activation checkpointing, or of torch.no_grad(). Checkpoint the '
                'backbone alone.'
            )
        self.feature, self.logits = args[0], output
        self._calls += 1
