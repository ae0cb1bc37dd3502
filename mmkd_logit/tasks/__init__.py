"""One adapter per task: where the logits are, which labels count, how rows are made."""

from __future__ import annotations

from torch import nn

from mmkd_logit.tasks.classification import ClassificationTask
from mmkd_logit.tasks.logit_layer import last_layers, layer_channels
from mmkd_logit.tasks.segmentation import SegmentationTask
from mmkd_logit.tasks.task import Task

# Tried in this order; the last accepts every other model.
TASKS: tuple[type[Task], ...] = (SegmentationTask, ClassificationTask)


def task_of(model: nn.Module) -> type[Task]:
    """Return the task of a model."""
    return next(task for task in TASKS if task.fits(model))


def task_of_scope(scope: str | None) -> type[Task] | None:
    """Return the task of configs with this ``default_scope``, or None if unknown."""
    return next((task for task in TASKS if task.scope == scope), None)


def find_logit_layer(model: nn.Module, name: str | None = None) -> str:
    """Return the name of the layer that outputs the logits.

    Args:
        model (nn.Module): A classifier or segmentor.
        name (str, optional): The name, if it is known; it is then only checked.
            Defaults to None: the task looks for it.

    Returns:
        str: Name of the layer in ``model``, such as ``'head.fc'``.

    Raises:
        ValueError: If there is no such layer or more than one, or if a decode head
            classifies masks or has one channel for two classes.
        TypeError: If the named layer is neither a Linear nor a Conv2d.
    """
    if name is None:
        return task_of(model).find_logit_layer(model)
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        raise ValueError(
            f'logit_layer={name!r} is not a layer of {type(model).__name__}. Its '
            f'last layers are {last_layers(model)}.'
        ) from None
    layer_channels(layer)
    return name


__all__ = [
    'TASKS',
    'ClassificationTask',
    'SegmentationTask',
    'Task',
    'find_logit_layer',
    'last_layers',
    'layer_channels',
    'task_of',
    'task_of_scope',
]
