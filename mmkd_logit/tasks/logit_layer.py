"""The layer of a model that outputs the logits."""

from __future__ import annotations

from torch import nn

LogitLayer = (nn.Linear, nn.Conv2d)


def layer_channels(layer: nn.Module) -> tuple[int, int]:
    """Return the input and output channels of a last layer.

    Args:
        layer (nn.Module): A linear or convolutional layer.

    Returns:
        tuple[int, int]: Feature size and number of classes.

    Raises:
        TypeError: If the layer is of another type.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels
    raise TypeError(
        'The last layer must be a Linear or a Conv2d that maps features to logits, '
        f'but got {type(layer).__name__}. Name another layer with logit_layer.'
    )


def last_layers(model: nn.Module, count: int = 5) -> list[str]:
    """Return the names of the last layers of a model that could output logits.

    Args:
        model (nn.Module): The model.
        count (int): Maximum number of names. Defaults to 5.

    Returns:
        list[str]: In the order in which the model defines them.
    """
    names = [
        name for name, layer in model.named_modules() if isinstance(layer, LogitLayer)
    ]
    return names[-count:]
