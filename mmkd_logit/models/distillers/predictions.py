"""Features and logits of a classifier on a sample of a dataset."""

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
        features (Tensor): Input of the last layer, shape (N, D).
        logits (Tensor): Its output, shape (N, C).
        labels (Tensor): Class indices, shape (N,).
        parameters (int): Number of parameters of the model; 0 if unknown. Defaults
            to 0.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    parameters: int = 0


def find_classifier(model: BaseModel, who: str) -> tuple[BaseModel, str]:
    """Find the classifier to be deployed and the name of its last layer.

    Args:
        model (BaseModel): A classifier, or a distiller, whose student is taken.
        who (str): Name of the caller, for messages.

    Returns:
        tuple[BaseModel, str]: The classifier and the layer, such as ``'head.fc'``.

    Raises:
        TypeError: If it is not a classifier, or its last layer is not linear.
    """
    name = None
    if isinstance(model, LogitDistiller):
        model, name = model.student, model.logit_layer
    if task_of(model) is not ClassificationTask:
        raise TypeError(
            f'{who} needs a classifier, with one prediction per image, but the model '
            f'is a {type(model).__name__}.'
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
    """Draw a random sample of a dataset, the same in every call.

    Args:
        size (int): Number of images in the dataset.
        most (int): Maximum number of images in the sample.

    Returns:
        list[int]: Indices of the images, in ascending order.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    return sorted(order[:most].tolist())


def sample_loader(
    dataset: Dataset, indices: Sequence[int], like: DataLoader
) -> DataLoader:
    """Build a loader of selected images of a dataset.

    Args:
        dataset (Dataset): The dataset.
        indices (Sequence[int]): Indices of the images.
        like (DataLoader): Loader whose batch size, workers and collation are used.

    Returns:
        DataLoader: Loads the images in the order of the indices.
    """
    return DataLoader(
        Subset(dataset, indices),
        batch_size=like.batch_size or 64,  # None: it has a batch sampler
        num_workers=like.num_workers,
        collate_fn=like.collate_fn,
    )


@torch.no_grad()
def predict(model: BaseModel, layer: str, loader: DataLoader) -> Predictions:
    """Compute features and logits of all images of a loader, in evaluation mode.

    Afterwards every layer is back in the mode that it was in.

    Args:
        model (BaseModel): A classifier of mmpretrain.
        layer (str): Name of its last layer, such as ``'head.fc'``.
        loader (DataLoader): Loads at least one image, with one label each.

    Returns:
        Predictions: In the order of the loader.

    Raises:
        ValueError: If an image does not have exactly one label, or the last layer
            takes more than one feature vector per image.
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
                    f'The last layer {layer} must take features of shape (images, '
                    f'size), but got {tuple(tap.feature.shape)}.'
                )
            parts.append((tap.feature.float().cpu(), tap.logits.float().cpu(), labels))
    finally:
        for module, training in modes:
            module.training = training
    features, logits, labels = (torch.cat(part) for part in zip(*parts))
    return Predictions(features, logits, labels)


@torch.no_grad()
def predict_as_teacher(model: LogitDistiller, loader: DataLoader) -> Predictions:
    """Compute the logits of a distiller's teacher, whatever library it is from.

    Args:
        model (LogitDistiller): A distiller of classifiers, with its teacher loaded.
        loader (DataLoader): Loads at least one image, with one label each.

    Returns:
        Predictions: In the order of the loader. The features have shape (N, 0),
        because the layer that outputs them is not known.

    Raises:
        ValueError: If an image does not have exactly one label.
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
            'Every image must have exactly one label (gt_label), but some images of '
            'the dataset have none or several.'
        )
    return torch.cat([label.reshape(1) for label in labels]).cpu()
