"""Finds the distiller that a Runner trains."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmkd_logit.models import LogitDistiller


def distiller_of(runner: Runner, who: str) -> LogitDistiller:
    """The distiller of a Runner, without its wrapper.

    Args:
        runner (Runner): The Runner.
        who (str): Who asks, for the message.

    Returns:
        LogitDistiller: Its model.

    Raises:
        TypeError: If the Runner trains another model.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not isinstance(model, LogitDistiller):
        raise TypeError(
            f'{who} works on a LogitDistiller, but the model is a '
            f'{type(model).__name__}. Remove the hook from this config.'
        )
    return model
