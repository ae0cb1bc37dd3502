"""One adapter per task: where the logits are, which labels count, how rows are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmkd_logit.tasks.classification import ClassificationTask
from mmkd_logit.tasks.logit_layer import last_layers, layer_channels
from mmkd_logit.tasks.prediction import check_prediction, check_tap
from mmkd_logit.tasks.segmentation import SegmentationTask
from mmkd_logit.tasks.task import Task

# Tried in this order; the last accepts every other model.
TASKS: tuple[type[Task], ...] = (SegmentationTask, ClassificationTask)

# Parts of detectors in OpenMMLab's packages and in torchvision, and those packages.
_OF_DETECTORS = ('bbox_head', 'panoptic_head', 'roi_head', 'roi_heads', 'rpn_head')
_DETECTION = ('mmdet', 'mmdet3d', 'mmrotate', 'mmyolo')


def refuse_detector(model: nn.Module | Mapping[str, Any], who: str) -> None:
    """Refuse a detector.

    Args:
        model (nn.Module | dict): A model, or its config.
        who (str): Its name, for the message.

    Raises:
        ValueError: If it is a detector.
    """
    if isinstance(model, Mapping):
        parts, types = set(model), [str(model.get('type'))]
    else:
        parts = {name for name, _ in model.named_children()}
        types = [f'{base.__module__}.' for base in type(model).__mro__]
    packages = {name.partition('.')[0] for name in types if '.' in name}
    if parts.intersection(_OF_DETECTORS) or packages.intersection(_DETECTION):
        raise ValueError(
            f'{who} is a detector, which cannot be distilled yet: student and teacher '
            'must be classifiers of images or semantic segmentors.'
        )


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
            classifies masks.
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
    'check_prediction',
    'check_tap',
    'find_logit_layer',
    'last_layers',
    'layer_channels',
    'refuse_detector',
    'task_of',
    'task_of_scope',
]
