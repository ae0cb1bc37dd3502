"""Collects features and logits of a classifier on a sample of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from mmkd_logit.models.distillers.logit_distiller import LogitDistiller
from mmkd_logit.modules import LogitTap
from mmkd_logit.tasks import ClassificationTask, find_logit_layer, task_of


class Predictions(NamedTuple):
    """Features, logits and labels of N images or pixels, on the CPU.

    Attributes:
        features (Tensor): What goes into the last layer, shape (N, D).
        logits (Tensor): What comes out of it, shape (N, C).
        labels (Tensor): Class indices, shape (N,).
        parameters (int): How many the model has; 0 if it does not tell. Defaults to 0.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    parameters: int = 0


def find_classifier(model: BaseModel, who: str) -> tuple[BaseModel, str]:
    """The classifier that is deployed, and the name of its last layer.

    Args:
        model (BaseModel): A classifier, or a distiller, whose student it is.
        who (str): Who asks, for the message.

    Returns:
        tuple[BaseModel, str]: The classifier, and such as ``'head.fc'``.

    Raises:
        TypeError: If it is no classifier, or its last layer is not linear.
    """
    name = None
    if isinstance(model, LogitDistiller):
        model, name = model.student, model.logit_layer
    if task_of(model) is not ClassificationTask:
        raise TypeError(
            f'{who} needs a classifier, with one prediction an image, but the model is '
            f'a {type(model).__name__}.'
        )
    try:
        name = find_logit_layer(model, name)
    except ValueError as error:
        raise TypeError(
            f'{who} needs a classifier with a linear last layer: {error}'
        ) from error
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(
            f'{who} needs a classifier with a linear last layer, but {name} of the '
            f'{type(model).__name__} is a {type(layer).__name__}.'
        )
    return model, name


def sample_indices(size: int, most: int) -> list[int]:
    """A random sample of a dataset, the same in every call.

    Args:
        size (int): Number of images in the dataset.
        most (int): Largest number of images in the sample.

    Returns:
        list[int]: Indices of the images, in ascending order.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    return sorted(order[:most].tolist())


def sample_loader(
    dataset: Dataset, indices: Sequence[int], like: DataLoader
) -> DataLoader:
    """Load some images of a dataset.

    Args:
        dataset (Dataset): The dataset.
        indices (Sequence[int]): Which images.
        like (DataLoader): Whose batch size, workers and collation are taken.

    Returns:
        DataLoader: In the order of the indices.
    """
    return DataLoader(
        Subset(dataset, indices),
        batch_size=like.batch_size or 64,  # None: it has a batch sampler
        num_workers=like.num_workers,
        collate_fn=like.collate_fn,
    )


@torch.no_grad()
def predict(model: BaseModel, layer: str, loader: DataLoader) -> Predictions:
    """Features and logits of all images of a loader, in evaluation mode.

    Every layer is left in the mode that it was in.

    Args:
        model (BaseModel): A classifier of mmpretrain.
        layer (str): Name of its last layer, such as ``'head.fc'``.
        loader (DataLoader): Gives images with one label each; at least one.

    Returns:
        Predictions: In the order of the loader.

    Raises:
        ValueError: If an image has not exactly one label, or the last layer takes
            more than one feature an image.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    tapped = model.get_submodule(layer)
    parts = []
    try:
        for batch in loader:
            labels = _labels(batch['data_samples'])
            data = model.data_preprocessor(batch, False)
            with LogitTap(tapped, layer) as tap:
                model(data['inputs'], data['data_samples'], mode='tensor')
            if tap.feature.ndim != 2:
                raise ValueError(
                    f'The last layer {layer} must take features (images, size), but '
                    f'got the shape {tuple(tap.feature.shape)}.'
                )
            parts.append((tap.feature.float().cpu(), tap.logits.float().cpu(), labels))
    finally:
        for module, training in modes:
            module.training = training
    features, logits, labels = (torch.cat(part) for part in zip(*parts))
    return Predictions(features, logits, labels)


@torch.no_grad()
def predict_as_teacher(model: LogitDistiller, loader: DataLoader) -> Predictions:
    """Logits of a distiller's teacher, whatever library it is of.

    Args:
        model (LogitDistiller): Of classifiers, its teacher loaded.
        loader (DataLoader): Gives images with one label each; at least one.

    Returns:
        Predictions: In the order of the loader. Its features have the shape (N, 0):
        where they are is not known.

    Raises:
        ValueError: If an image has not exactly one label.
    """
    parts = []
    for batch in loader:
        labels = _labels(batch['data_samples'])
        given = model.teacher(model.data_preprocessor(batch, False)['inputs'])
        several = [given] if isinstance(given, Tensor) else given
        logits = model.teacher.average(several).float().cpu()
        parts.append((logits[:, :0], logits, labels))
    features, logits, labels = (torch.cat(part) for part in zip(*parts))
    return Predictions(features, logits, labels)


def _labels(data_samples: Sequence[Any]) -> Tensor:
    labels = [sample.get('gt_label') for sample in data_samples]
    if any(label is None or label.numel() != 1 for label in labels):
        raise ValueError(
            'Every image must have exactly one label (gt_label), but the dataset '
            'gives some that have none or several.'
        )
    return torch.cat([label.reshape(1) for label in labels]).cpu()
