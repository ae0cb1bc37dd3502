"""Finds the last layer of a model, and listens to it for one forward pass."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import Tensor, nn

_LayerTypes = (nn.Linear, nn.Conv2d)


def layer_channels(layer: nn.Module) -> tuple[int, int]:
    """Channels into and out of a last layer.

    Args:
        layer (nn.Module): A linear or convolutional layer.

    Returns:
        tuple[int, int]: Size of the feature, number of classes.

    Raises:
        TypeError: If the layer is of another type.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels
    raise TypeError(
        'The last layer must be a Linear or a Conv2d, which turns a feature into '
        f'logits, but got {type(layer).__name__}. Name another with logit_layer.'
    )


def find_logit_layer(model: nn.Module, name: str | None = None) -> str:
    """Name of the layer that gives the logits.

    Args:
        model (nn.Module): A classifier with ``head``, or a segmentor with
            ``decode_head``.
        name (str, optional): The name, if it is known: then it is only checked.
            Defaults to None: of a segmentor the ``conv_seg`` of its (last) decode
            head, of a classifier the one layer in the head with as many outputs as
            the head has classes.

    Returns:
        str: Name of the layer in ``model``, as ``'head.fc'``.

    Raises:
        ValueError: If there is no such layer, or more than one; if a decode head
            classifies masks or has one channel for two classes.
        TypeError: If the named layer is neither a Linear nor a Conv2d.
    """
    if name is not None:
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            raise ValueError(
                f'logit_layer={name!r} is not a layer of {type(model).__name__}. Its '
                f'last layers are {_last_layers(model)}.'
            ) from None
        layer_channels(layer)
        return name
    if hasattr(model, 'decode_head'):
        return _find_pixel_layer(model)

    head = getattr(model, 'head', None)
    num_classes = getattr(head, 'num_classes', None)
    found = (
        []
        if head is None or num_classes is None
        else [
            f'head.{path}'
            for path, layer in head.named_modules()
            if isinstance(layer, _LayerTypes)
            and layer_channels(layer)[1] == num_classes
        ]
    )
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f'Expected one layer in the head of {type(model).__name__} that gives the '
        f'logits of {num_classes} classes, but found {found or "none"}. Name it in '
        f"the distiller, as logit_layer='head.fc'. The last layers of the model are "
        f'{_last_layers(model)}.'
    )


def _find_pixel_layer(model: nn.Module) -> str:
    path, head = 'decode_head', model.decode_head
    if isinstance(head, nn.ModuleList):  # a cascade: the last stage counts
        path, head = f'{path}.{len(head) - 1}', head[len(head) - 1]
    if getattr(head, 'out_channels', None) == 1:
        raise ValueError(
            f'{type(head).__name__} has one channel for two classes. Distillation of '
            'logits needs a logit for each class: set out_channels=2 and '
            'use_sigmoid=False in decode_head.'
        )
    if not isinstance(getattr(head, 'conv_seg', None), nn.Conv2d):
        raise ValueError(
            f'{type(head).__name__} has no last layer that gives a logit for each '
            'class and pixel (conv_seg): it classifies masks or sampled points. Such '
            'a student can not be distilled per pixel. If it has such a layer under '
            'another name, name it with logit_layer.'
        )
    return f'{path}.conv_seg'


def _last_layers(model: nn.Module, count: int = 5) -> list[str]:
    names = [
        name for name, layer in model.named_modules() if isinstance(layer, _LayerTypes)
    ]
    return names[-count:]


class LogitTap:
    """Keeps what goes into a layer and what comes out, for one forward pass.

    The hook is on the layer only inside the ``with`` block, so copies of the model,
    validation and export never see it.

    Args:
        layer (nn.Module): The layer that gives the logits.
        name (str): Its name, for messages.

    Raises:
        RuntimeError: At the end of the block, if the layer did not run exactly once.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.distillers import LogitTap
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
                f'ran {self._calls} times. Name the layer that gives the logits of '
                'the task loss with logit_layer.'
            )

    def _keep(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self.feature, self.logits = args[0], output
        self._calls += 1
