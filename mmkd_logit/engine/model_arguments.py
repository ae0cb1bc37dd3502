"""What tools that look at trained classifiers share: which ones, on which images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd_logit.engine.launch import check_data
from mmkd_logit.engine.predictions import (
    Predictions,
    find_classifier,
    predict,
    sample_indices,
    sample_loader,
)
from mmkd_logit.models.teachers import load_strictly, read_checkpoint, weights_of
from mmkd_logit.registry import MODELS


def add_model_arguments(parser: argparse.ArgumentParser, samples: int) -> None:
    """Add ``--model`` and ``--samples``.

    Args:
        parser (argparse.ArgumentParser): Of the tool.
        samples (int): How many images are looked at by default.
    """
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('LABEL', 'CONFIG', 'CHECKPOINT'),
        help='a plain classifier or a distiller, whose student is taken; can be given '
        'several times, the teacher first',
    )
    parser.add_argument(
        '--samples',
        type=int,
        default=samples,
        metavar='N',
        help='largest number of images, drawn at random from the validation set, the '
        f'same for all models; {samples} if not set',
    )


def predict_models(
    models: Sequence[Sequence[str]],
    samples: int,
    least: int = 1,
    classes: Sequence[int] | None = None,
) -> tuple[dict[str, Predictions], tuple[str, ...]]:
    """What each model says of the same images, on a GPU if there is one.

    Each sees them through the validation pipeline of its own config.

    Args:
        models (Sequence[Sequence[str]]): Label, config and checkpoint of each.
        samples (int): Largest number of images.
        least (int): How many models are needed. Defaults to 1.
        classes (Sequence[int], optional): Take only images of these classes.
            Defaults to None.

    Returns:
        tuple: Predictions by label, and the names of the classes.

    Raises:
        FileNotFoundError: If a checkpoint or the data does not exist.
        TypeError: If a model is no classifier with a linear last layer.
        ValueError: If there are too few models or images, two models of one label, a
            checkpoint that does not fit its config, or validation sets that differ.
    """
    labels = [label for label, _, _ in models]
    if len(set(labels)) < len(labels):
        raise ValueError(f'Every --model needs a label of its own, but got {labels}.')
    if len(models) < least:
        raise ValueError(
            f'{least} or more --model are needed, the teacher first, but got {labels}.'
        )
    predictions: dict[str, Predictions] = {}
    names: tuple[str, ...] = ()
    for label, config, checkpoint in models:
        found, meta = _predict(label, config, checkpoint, samples, classes)
        predictions[label] = found
        first = predictions[labels[0]]
        if not torch.equal(found.labels, first.labels):
            raise ValueError(
                f'The validation sets of {labels[0]} and {label} differ: their images '
                'have other labels. Models can be compared on the same images only.'
            )
        if found.logits.shape != first.logits.shape:
            raise ValueError(
                f'{labels[0]} has {first.logits.shape[1]} classes, but {label} has '
                f'{found.logits.shape[1]}.'
            )
        names = names or tuple(map(str, meta.get('classes') or ()))
    return predictions, names or tuple(map(str, range(first.logits.shape[1])))


def _predict(
    label: str,
    config: str,
    checkpoint: str,
    samples: int,
    classes: Sequence[int] | None,
) -> tuple[Predictions, dict[str, Any]]:
    if '://' not in checkpoint and not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(
            f'The checkpoint {checkpoint!r} of {label} does not exist (looked in '
            f'{Path.cwd()}).'
        )
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(cfg.model)
    classifier, layer = find_classifier(model, label)
    weights = weights_of(read_checkpoint(checkpoint))
    load_strictly(model, weights, f'{label}: {checkpoint}')
    check_data(cfg, ('val_dataloader',))
    like = Runner.build_dataloader(cfg.val_dataloader)
    chosen = _choose(like.dataset, classes)
    indices = [chosen[place] for place in sample_indices(len(chosen), samples)]
    if len(indices) < 2:
        raise ValueError(
            f'2 or more images are needed, but got {len(indices)}. Raise --samples, or '
            'choose classes that occur.'
        )
    loader = sample_loader(like.dataset, indices, like)
    meta = getattr(like.dataset, 'metainfo', {})
    return predict(classifier.to(get_device()), layer, loader), meta


def _choose(dataset: Any, classes: Sequence[int] | None) -> Sequence[int]:
    """Indices of the images of some classes."""
    if classes is None:
        return range(len(dataset))
    if not hasattr(dataset, 'get_gt_labels'):
        raise ValueError(
            f'{type(dataset).__name__} does not tell the labels of its images before '
            'they are read, so that classes can not be chosen.'
        )
    wanted = set(classes)
    return [i for i, each in enumerate(dataset.get_gt_labels()) if int(each) in wanted]
