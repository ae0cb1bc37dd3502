"""Strict reading of the checkpoint that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mmkd_logit.checkpoint import describe_difference, weights_of
from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import HOOKS
from mmkd_logit.released_names import match_names


@HOOKS.register_module()
class LoadFromHook(Hook):
    """Checks that ``load_from`` fits the model, where mmengine takes what it can.

    The file must match the model, or the student of a distiller, to the last tensor.
    Files of mdistiller, RepDistiller and torchvision are renamed. What a distiller adds
    to its student, such as an auxiliary head, is taken if the file has it. With
    ``strict_load = False`` at the top level of the config, tensors that do not fit are
    left out, and the log lists them; use it to fine-tune on other classes. A run that
    is resumed must match without exception.
    :func:`mmkd_logit.apis.build_runner` adds this hook to every run.

    Raises:
        ValueError: When training starts, if the file does not fit.
    """

    priority = 'VERY_HIGH'  # before EMAHook, which copies the weights

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the weights, and complete them by those of the model."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own = model.state_dict()
        prefix = 'student.' if isinstance(model, LogitDistiller) else ''
        what = f'load_from={runner._load_from!r}'
        weights = weights_of(checkpoint, runner._load_from)
        of_student, others = _split(weights, prefix)
        if not of_student:  # the file of a plain student
            of_student, others = dict(weights), {}
        plain, parts = _split(own, prefix)
        of_student = dict(match_names(of_student, plain, what))
        difference = describe_difference(plain, of_student)
        if difference:
            self._report(
                runner, f'{what} does not fit the {type(model).__name__}:\n{difference}'
            )
        if runner._resume:  # mmengine takes all of it
            return
        fitting = {prefix + k: v for k, v in _fitting(of_student, plain).items()}
        kept = _fitting(others, parts)
        if set(kept) != set(parts):
            new = sorted(
                {'.'.join(name.split('.')[:2]) for name in set(parts) - set(kept)}
            )
            runner.logger.info(f'{what} has no {", ".join(new)}, which start anew.')
        checkpoint['state_dict'] = {**own, **fitting, **kept}

    def _report(self, runner: Runner, message: str) -> None:
        if runner._resume:
            raise ValueError(f'{message}\nA run is resumed with its own model only.')
        if runner.cfg.get('strict_load', True):
            raise ValueError(
                f'{message}\nTo leave out what does not fit, such as the last layer '
                'when fine-tuning on other classes, set strict_load=False at the top '
                'level of the config.'
            )
        runner.logger.warning(
            f'{message}\nThis is left out, and keeps its initialization.'
        )


def _split(weights: Mapping[str, Tensor], prefix: str) -> tuple[dict, dict]:
    """Return the weights under a prefix, without it, and the others."""
    under = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    return under, {k: v for k, v in weights.items() if not k.startswith(prefix)}


def _fitting(weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> dict:
    """Return the weights that have a place of the same shape in the model."""
    return {
        name: value
        for name, value in weights.items()
        if name in model and value.shape == model[name].shape
    }
