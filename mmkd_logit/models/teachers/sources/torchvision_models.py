"""Classifiers and segmentors of torchvision."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from torch import nn

from mmkd_logit.checkpoint import load_strictly, read_checkpoint, weights_of
from mmkd_logit.models.teachers.preprocessing import Preprocessing
from mmkd_logit.models.teachers.sources.source import (
    Found,
    LogitModel,
    Request,
    check_options,
    import_extra,
    load_file,
)

_REFUSED = {
    'weights': 'name them in teacher.weights.',
    'weights_backbone': 'the weights are those of the whole model.',
    'pretrained': 'name the weights in teacher.weights.',
}
# Classes of the transforms of models that give logits of images.
_TASKS = 'ImageClassification', 'SemanticSegmentation'
# Arguments that torchvision itself sets when it loads its weights.
_AS_TRAINED = dict(transform_input=True, aux_logits=True, init_weights=False)
_OF_WEIGHTS = {'googlenet': _AS_TRAINED, 'inception_v3': _AS_TRAINED}


def build(request: Request) -> Found:
    """Build a classifier or a semantic segmentor of torchvision.

    Args:
        request (Request): ``what`` is a name, such as 'resnet34'; ``weights``, such as
            'IMAGENET1K_V1', are torchvision's own. ``options`` go to
            ``torchvision.models.get_model``.

    Returns:
        Found: The model, and the preprocessing and class names of its weights.

    Raises:
        ImportError: If torchvision is not installed.
        ValueError: If there are no such model or weights, a file does not fit, or the
            model is for another task.
    """
    models = import_extra('torchvision', 'onedl', request.who).models
    check_options(request, _REFUSED)
    choices = _weights_of_model(models, request)
    if (made_for := type(choices.DEFAULT.transforms()).__name__) not in _TASKS:
        raise ValueError(
            f'{request.who} is made for {made_for}, but a teacher '
            'must give logits of images: name a classifier or a semantic segmentor.'
        )
    options = dict(request.options)
    weights, classes = None, None
    if request.pretrained:
        weights = _chosen(choices, request)
        classes = tuple(weights.meta['categories'])
        options = {**_OF_WEIGHTS.get(request.what, {}), **options}
        options.setdefault('num_classes', len(classes))
        read = weights_of(read_checkpoint(weights.url), weights.url)
        takes = inspect.signature(models.get_model_builder(request.what)).parameters
        if 'aux_loss' in takes:
            options['aux_loss'] = any(name.startswith('aux_') for name in read)
    network = _create(models, request, options)
    if weights is not None:
        load_strictly(network, read, f'{request.who}: {weights}')
    elif request.checkpoint is not None:
        load_file(network, request)
    size = getattr(network, 'image_size', None)
    size = (size, size) if isinstance(size, int) else None
    # All weights of a model were trained with the same mean and standard deviation.
    told = weights or choices.DEFAULT
    transforms = told.transforms()
    return Found(
        LogitModel(
            network,
            request.who,
            options.get('num_classes', len(told.meta['categories'])),
            request.output,
            size,
        ),
        Preprocessing(
            mean=tuple(255 * each for each in transforms.mean),
            std=tuple(255 * each for each in transforms.std),
            interpolation=transforms.interpolation.value,
            told_by=f"torchvision's {told}",
        ),
        classes,
    )


def _weights_of_model(models: Any, request: Request) -> Any:
    try:
        return models.get_model_weights(request.what)
    except ValueError as error:
        names = models.list_models()
        close = get_close_matches(request.what, names, n=3)
        hint = f' Did you mean one of {", ".join(close)}?' if close else ''
        raise ValueError(
            f'{request.who}: torchvision has no such model.{hint}'
        ) from error


def _chosen(choices: Any, request: Request) -> Any:
    name = str(request.weights).rpartition('.')[2]
    if name not in choices.__members__:
        raise ValueError(
            f'{request.who} needs teacher.weights, one of '
            f'{", ".join(map(repr, choices.__members__))}, or a checkpoint, but got '
            f'weights={request.weights!r}.'
        )
    return choices[name]


def _create(models: Any, request: Request, options: dict) -> nn.Module:
    takes = inspect.signature(models.get_model_builder(request.what)).parameters
    if 'weights_backbone' in takes:  # which it would download
        options = {**options, 'weights_backbone': None}
    try:
        return models.get_model(request.what, weights=None, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{request.who} cannot be built by torchvision: {error}'
        ) from error
