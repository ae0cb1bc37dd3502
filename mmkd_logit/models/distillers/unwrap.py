"""Access to the distiller in a Runner's model."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import nn

from mmkd_logit.models.distillers.logit_distiller import LogitDistiller


def distiller_in(
    model: nn.Module, who: str, remedy: str = 'Remove the hook from this config.'
) -> LogitDistiller:
    """Return the distiller without its wrapper.

    Args:
        model (nn.Module): The model of a Runner, in its wrapper if it has one.
        who (str): Name of the caller, for the message.
        remedy (str): What to do if it is another model, for the message. Defaults to
            the advice for a hook.

    Returns:
        LogitDistiller: The model.

    Raises:
        TypeError: If it is another model.
    """
    module = model.module if is_model_wrapper(model) else model
    if not isinstance(module, LogitDistiller):
        raise TypeError(
            f'{who} works on a LogitDistiller, but the model is a '
            f'{type(module).__name__}. {remedy}'
        )
    return module
