"""Comparison of logits with what a model predicts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmkd_logit.rng import kept_rng
from mmkd_logit.tasks.logit_layer import LogitLayer, layer_channels
from mmkd_logit.tasks.task import Task

# Number of images that are compared.
_IMAGES = 2
# How much a teacher's probabilities may move between classes, on average: rounding
# depends on the size of the batch, and moves far less, even in bfloat16.
_MOVED = 0.1
# Relative difference of two probabilities of a student that rounding explains, by the
# type of the logits, and probability below which it does not matter.
_ROUNDING, _IN_HALF = {torch.float32: 0.05, torch.float64: 0.05}, 0.5
_SMALL = 1e-6


def check_prediction(
    task: type[Task], model: Any, logits: Tensor, inputs: Tensor, who: str
) -> None:
    """Check that a model predicts the softmax of its logits.

    Args:
        task (type[Task]): Its task.
        model (BaseModel): The model, in evaluation mode.
        logits (Tensor): Its output for the images, shape (N, C, ...).
        inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
        who (str): Its name, for the message.

    Raises:
        ValueError: If it predicts something else.
    """
    logits, inputs = logits[:_IMAGES], inputs[:_IMAGES]
    with _undisturbed(model, inputs):
        scores = _scores(task, model, inputs, None, {})
    expected = task.scores_of(model, logits, inputs)
    if not isinstance(scores, Tensor) or scores.shape != expected.shape:
        moved = torch.ones(())
    else:
        moved = (scores.to(expected) - expected).abs().sum(1).mean() / 2
    if moved > _MOVED:  # not so if they are NaN, which the step reports
        raise ValueError(
            f'{who} predicts something other than the softmax of its logits, as heads '
            'do that scale them or add several outputs. The student would learn '
            'another function than the one that is evaluated. Use a teacher that '
            'predicts from its logits as they are.'
        )


def check_tap(
    task: type[Task],
    student: Any,
    layer: str,
    inputs: Tensor,
    data_samples: Sequence[Any],
) -> None:
    """Check that a student predicts the softmax of its last layer's output.

    It runs once, with random logits in place of that output, which it must predict
    whatever its parameters are: when training starts, a second classifier may be 0,
    and a scale 1. Neither the student nor the random numbers of training change.

    Args:
        task (type[Task]): Its task.
        student (BaseModel): The student.
        layer (str): Name of its last layer.
        inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
        data_samples (Sequence): Their data samples.

    Raises:
        ValueError: If it predicts something else.
    """
    check = _check_tap
    if 'torch._dynamo' in sys.modules:  # else nothing is compiled
        check = torch.compiler.disable(check)
    check(task, student, layer, inputs[:_IMAGES], data_samples[:_IMAGES])


def _check_tap(
    task: type[Task],
    student: Any,
    layer: str,
    inputs: Tensor,
    data_samples: Sequence[Any],
) -> None:
    # Predictions are written to the samples.
    samples = [sample.new() for sample in data_samples]
    with _undisturbed(student, inputs):
        if _predicts_from(task, student, layer, inputs, samples):
            return
        classes = layer_channels(student.get_submodule(layer))[1]
        others = [
            name
            for name, other in student.named_modules()
            if isinstance(other, LogitLayer)
            and layer_channels(other)[1] == classes
            and _predicts_from(task, student, name, inputs, samples)
        ]
    first, *rest = layer.split('.')
    owner = student.get_submodule(first) if rest else student
    if isinstance(owner, nn.ModuleList):  # a cascade
        owner = owner.get_submodule(rest[0])
    remedy = (
        f'Set logit_layer={others[0]!r}.'
        if others
        else 'No other layer fits either: use a head that predicts from a single '
        'layer, such as LinearClsHead, or distillation=False in its settings.'
    )
    raise ValueError(
        f'{type(owner).__name__} does not predict the softmax of the output of its '
        f'layer {layer!r}: it scales that output, adds to it, averages it with '
        'another, or reads it through sigmoids. The student would be distilled into '
        f'another function than the one that is tested. {remedy}'
    )


@contextmanager
def _undisturbed(student: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Evaluate a student without a trace in its training."""
    modes = [(module, module.training) for module in student.modules()]
    student_trains = student.training
    devices = [inputs.device] if inputs.is_cuda else []
    try:
        with torch.no_grad(), kept_rng(), torch.random.fork_rng(devices):
            student.eval()
            yield
    finally:
        student.train(student_trains)  # which may do more than set modes
        for module, training in modes:
            module.training = training


class _Scores(nn.Module):
    """The scores of a model as a forward pass."""

    def __init__(self, task: type[Task], model: Any) -> None:
        super().__init__()
        self.task = task
        self.model = model

    def forward(self, inputs: Tensor, samples: Any) -> Any:
        return self.task.scores(self.model, inputs, samples)


def _scores(
    task: type[Task],
    model: Any,
    inputs: Tensor,
    samples: Any,
    parameters: dict[str, Tensor],
) -> Any:
    """Return the scores of a model with other parameters, and copies of its buffers."""
    others = {key: value.clone() for key, value in model.named_buffers()} | parameters
    named = {f'model.{key}': value for key, value in others.items()}
    # Tying weights would not restore those of a submodule that has two names.
    return functional_call(
        _Scores(task, model), named, (inputs, samples), tie_weights=False
    )


def _predicts_from(
    task: type[Task], student: Any, name: str, inputs: Tensor, samples: Any
) -> bool:
    logits: Tensor | None = None

    def replace(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        nonlocal logits
        if logits is None or logits.shape != output.shape:
            # Small integers, which half precision can hold; constant over the pixels,
            # so that it does not matter how maps are resized.
            shape = (*output.shape[:2], *[1] * (output.ndim - 2))
            logits = torch.randint(-8, 9, shape).to(output).expand_as(output).clone()
        return logits.clone()  # a head may change it in place

    # The student's own parameters would also enter the cache of autocast.
    others = {
        key: value + 0.1 * torch.randn_like(value)
        for key, value in student.named_parameters()
    }
    handle = student.get_submodule(name).register_forward_hook(replace)
    try:
        scores = _scores(task, student, inputs, samples, others)
    finally:
        handle.remove()
    if logits is None or not isinstance(scores, Tensor):
        return False
    expected = task.scores_of(student, logits, inputs)
    rounding = _ROUNDING.get(logits.dtype, _IN_HALF)
    return scores.shape == expected.shape and torch.allclose(
        scores.to(expected), expected, rounding, _SMALL
    )
