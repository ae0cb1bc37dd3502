"""Trained models named on the command line, and their predictions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from mmkd_logit.apis.config import check_data
from mmkd_logit.apis.key_at_fault import naming_key
from mmkd_logit.checkpoint import class_names as classes_of
from mmkd_logit.checkpoint import load_strictly, read_checkpoint, weights_of
from mmkd_logit.engine.hooks.class_check_hook import class_names
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.distillers.predictions import (
    Predictions,
    find_classifier,
    predict,
    predict_as_teacher,
    sample_indices,
    sample_loader,
)
from mmkd_logit.registry import MODELS
from mmkd_logit.released_names import match_names
from mmkd_logit.tasks import SegmentationTask, task_of
from mmkd_logit.views import without_view_keys

# Instead of a checkpoint: the teacher of a distiller, with its own weights.
_TEACHER = 'teacher'
# Parts of a distiller that its student does not need.
_OF_THE_DISTILLER = ('losses.', 'aux_head.')


def load_weights(
    model: BaseModel, checkpoint: str, label: str = ''
) -> tuple[str, ...] | None:
    """Load a checkpoint into a model, or into the student of a distiller.

    Args:
        model (BaseModel): A plain model or a distiller.
        checkpoint (str): That of the model; for a distiller, also that of the plain
            student, or of a distiller of the same student with another method. Files
            of mdistiller, RepDistiller and torchvision are accepted.
        label (str): Name of the model in messages. Defaults to ''.

    Returns:
        tuple[str, ...] | None: Names of the classes that the model was trained on, if
        the checkpoint has them.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If it cannot be read, or does not match exactly.
    """
    what = f'{label}: {checkpoint}' if label else str(checkpoint)
    saved = read_checkpoint(checkpoint)
    weights = weights_of(saved, checkpoint)
    plain = model.student if isinstance(model, LogitDistiller) else model
    weights = match_names(weights, plain.state_dict(), what)
    parts = {name.partition('.')[0] for name in weights}
    # A distiller of this package saves no teacher; one of mdistiller does.
    if plain is not model and 'student' in parts and 'teacher' not in parts:
        weights = {
            name.removeprefix('student.'): value
            for name, value in weights.items()
            if not name.startswith(_OF_THE_DISTILLER)
        }
    load_strictly(plain, weights, what)
    return classes_of(saved)


def build_model(cfg: Config) -> BaseModel:
    """Build a model as the Runner does, with the preprocessor of its config.

    Args:
        cfg (Config): The config.

    Returns:
        BaseModel: Its model, on the CPU, with no checkpoint loaded.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with naming_key(cfg):
        return MODELS.build(cfg.model)


def load_model(config: str, checkpoint: str, label: str) -> tuple[Config, BaseModel]:
    """Build a model and load its weights, on a GPU if there is one.

    Args:
        config (str): Config file of a plain model or a distiller.
        checkpoint (str): Its checkpoint; see :func:`load_weights`.
        label (str): Name of the model in messages.

    Returns:
        tuple[Config, BaseModel]: The config, and the model in evaluation mode.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the checkpoint cannot be read or does not fit.
    """
    cfg = Config.fromfile(config)
    model = build_model(cfg)
    load_weights(model, checkpoint, label)
    return cfg, model.to(get_device()).eval()


class Segmentor(NamedTuple):
    """A trained segmentor, or the teacher of a distiller.

    Args:
        predict (Callable): Takes a batch from a data loader, and returns data samples
            with predictions.
        parameters (int): Number of parameters that a prediction needs; 0 if unknown.
    """

    predict: Callable[[dict[str, Any]], list[Any]]
    parameters: int

    def __call__(self, sample: dict[str, Any]) -> Any:
        """Predict one sample of a dataset.

        Args:
            sample (dict): An item of the dataset; it is not changed.

        Returns:
            SegDataSample: The sample with ``pred_sem_seg`` and ``seg_logits``.
        """
        batch = {key: [value] for key, value in copy.deepcopy(sample).items()}
        (prediction,) = self.predict(batch)
        return prediction


def load_segmentors(
    models: Sequence[Sequence[str]], least: int = 1
) -> tuple[dict[str, Segmentor], Any]:
    """Build segmentors and load their weights.

    Args:
        models (Sequence[Sequence[str]]): Label, config and checkpoint of each, as
            given with ``--model``.
        least (int): Required number of models. Defaults to 1.

    Returns:
        tuple[dict[str, Segmentor], Dataset]: The models by label, and the test
        set of the first config.

    Raises:
        ValueError: If there are too few models, one is not a segmentor, a label is
            given twice, or a config whose teacher is requested has none.
    """
    if len(models) < least:
        raise ValueError('--model: name at least the teacher and a plain student.')
    loaded: dict[str, Segmentor] = {}
    for label, config, checkpoint in models:
        if label in loaded:
            raise ValueError(f'Two models are called {label!r}. Rename one of them.')
        as_teacher = checkpoint == _TEACHER
        cfg, model = (
            _distiller(config, label)
            if as_teacher
            else load_model(config, checkpoint, label)
        )
        plain: Any = getattr(model, 'student', model)
        if task_of(plain) is not SegmentationTask:
            raise ValueError(
                f'{label} is a {type(model).__name__}, but must be a segmentor.'
            )
        if not loaded:
            check_data(cfg, ('test_dataloader',))
            dataset = DATASETS.build(cfg.test_dataloader.dataset)
        if as_teacher:
            model.class_names = class_names(dataset)
            model.load_teacher()
            loaded[label] = Segmentor(model.teacher_step, 0)
        else:
            loaded[label] = Segmentor(model.test_step, count_parameters(model))
    return loaded, dataset


@torch.no_grad()
def segment(model: Segmentor, sample: dict[str, Any]) -> np.ndarray:
    """Predict the label map of an image of a dataset.

    Args:
        model (Segmentor): One of the models from :func:`load_segmentors`.
        sample (dict): An item of the dataset; it is not changed.

    Returns:
        np.ndarray: Class indices, at the size of the original image.
    """
    return model(sample).pred_sem_seg.data[0].cpu().numpy()


def is_segmentor(config: str) -> bool:
    """Return whether a config is that of a segmentor.

    Args:
        config (str): Config file of a plain model or a distiller.

    Returns:
        bool: Whether it is; for a distiller, whether its student is.
    """
    model = build_model(Config.fromfile(config))
    return task_of(getattr(model, 'student', model)) is SegmentationTask


def count_parameters(model: nn.Module) -> int:
    """Count the parameters that a prediction needs.

    Args:
        model (nn.Module): The model; in a distiller, the student is used.

    Returns:
        int: Their number, not counting the auxiliary head of a segmentor.
    """
    plain = model.student if isinstance(model, LogitDistiller) else model
    return sum(
        value.numel()
        for name, value in plain.named_parameters()
        if not name.startswith('auxiliary_head.')
    )


@torch.no_grad()
def predict_segmentors(
    models: Sequence[Sequence[str]], samples: int, pixels: int = 20000
) -> tuple[dict[str, Predictions], dict[str, tuple[float, float]]]:
    """Collect logits of several segmentors at the same pixels, and score them.

    All models see the images through the test pipeline of the first config.

    Args:
        models (Sequence[Sequence[str]]): Label, config and checkpoint of each.
        samples (int): Maximum number of images.
        pixels (int): Approximate number of pixels to take from all images together, at
            random among those that are not ignored. Defaults to 20000.

    Returns:
        tuple: Predictions by label, without features; and, by label and in %, the mean
        IoU over the classes that occur and the accuracy, over all pixels of the images.

    Raises:
        ValueError: If there are fewer than two models, one is not a segmentor of two
            or more classes, or a label is given twice.
    """
    loaded, dataset = load_segmentors(models, least=2)
    classes = len(dataset.metainfo['classes'])
    indices = sample_indices(len(dataset), samples)
    each = max(1, pixels // len(indices))
    generator = torch.Generator().manual_seed(0)
    logits: dict[str, list[Tensor]] = {label: [] for label in loaded}
    # Number of pixels for each pair of a true and a predicted class.
    pairs = {label: torch.zeros(classes, classes).long() for label in loaded}
    labels = []
    for index in indices:
        sample = dataset[index]
        truth = sample['data_samples'].gt_sem_seg.data.flatten().long()
        valid = ((truth >= 0) & (truth < classes)).nonzero()[:, 0]
        chosen = valid[torch.randperm(len(valid), generator=generator)[:each]]
        labels.append(truth[chosen])
        for label, model in loaded.items():
            found = model(sample)
            given = found.seg_logits.data.cpu().flatten(1)
            if given.shape != (classes, len(truth)) or classes < 2:
                raise ValueError(
                    f'{label} outputs logits of shape '
                    f'{tuple(found.seg_logits.data.shape)}, but the test set has '
                    f'{classes} classes and labels of shape '
                    f'{tuple(sample["data_samples"].gt_sem_seg.data.shape[-2:])}. '
                    'Use segmentors with a logit for each of two or more classes.'
                )
            logits[label].append(given[:, chosen].T.float())
            named = found.pred_sem_seg.data.cpu().flatten().long()
            both = classes * truth[valid] + named[valid]
            counted = torch.bincount(both, minlength=classes**2)
            pairs[label] += counted.view(classes, classes)
    everywhere = torch.cat(labels)
    predictions = {
        label: Predictions(
            everywhere.new_empty(len(everywhere), 0),
            torch.cat(parts),
            everywhere,
            loaded[label].parameters,
        )
        for label, parts in logits.items()
    }
    return predictions, {label: _scores(each) for label, each in pairs.items()}


def _scores(pairs: Tensor) -> tuple[float, float]:
    """Return mean IoU and accuracy in % from the counts of true and predicted class."""
    right = pairs.diag()
    union = pairs.sum(0) + pairs.sum(1) - right
    iou = (right / union)[union > 0].mean().item()
    return 100 * iou, 100 * (right.sum() / pairs.sum()).item()


def predict_models(
    models: Sequence[Sequence[str]],
    samples: int,
    least: int = 1,
    classes: Sequence[int] | None = None,
    features: bool = False,
) -> tuple[dict[str, Predictions], tuple[str, ...]]:
    """Collect features and logits of several classifiers on the same images.

    Each model sees the images through the validation pipeline of its own config.

    Args:
        models (Sequence[Sequence[str]]): Label, config and checkpoint of each.
        samples (int): Maximum number of images.
        least (int): Required number of models. Defaults to 1.
        classes (Sequence[int], optional): Use only images of these classes.
            Defaults to None.
        features (bool): Whether features are needed, which the teacher of a distiller
            does not provide. Defaults to False.

    Returns:
        tuple: Predictions by label, and the names of the classes.

    Raises:
        FileNotFoundError: If a checkpoint or the data does not exist.
        TypeError: If a model is not a classifier with a linear last layer.
        ValueError: If there are too few models or images, two models have the same
            label, a checkpoint does not fit its config, or the validation sets differ.
    """
    labels = [label for label, _, _ in models]
    if len(set(labels)) < len(labels):
        raise ValueError(f'Every --model needs its own label, but got {labels}.')
    if len(models) < least:
        raise ValueError(
            f'{least} or more --model are needed, the teacher first, but got {labels}.'
        )
    predictions: dict[str, Predictions] = {}
    names: tuple[str, ...] = ()
    for label, config, checkpoint in models:
        if features and checkpoint == _TEACHER:
            raise ValueError(
                f'The features of {label} are needed, but a distiller knows only the '
                "logits of its teacher. Give the teacher's own config and checkpoint."
            )
        found, meta = _predict(label, config, checkpoint, samples, classes)
        predictions[label] = found
        first = next(iter(predictions.values()))
        if not torch.equal(found.labels, first.labels):
            raise ValueError(
                f'The validation sets of {labels[0]} and {label} differ: their images '
                'have different labels. Models can only be compared on the same images.'
            )
        if found.logits.shape != first.logits.shape:
            raise ValueError(
                f'{labels[0]} has {first.logits.shape[1]} classes, but {label} has '
                f'{found.logits.shape[1]}.'
            )
        names = names or tuple(map(str, meta.get('classes') or ()))
    count = predictions[labels[0]].logits.shape[1]
    return predictions, names or tuple(map(str, range(count)))


def _predict(
    label: str,
    config: str,
    checkpoint: str,
    samples: int,
    classes: Sequence[int] | None,
) -> tuple[Predictions, dict[str, Any]]:
    as_teacher = checkpoint == _TEACHER
    cfg, model = (
        _distiller(config, label)
        if as_teacher
        else load_model(config, checkpoint, label)
    )
    classifier, layer = find_classifier(model, label)
    check_data(cfg, ('val_dataloader',))
    like = Runner.build_dataloader(cfg.val_dataloader)
    chosen = _choose(like.dataset, classes)
    indices = [chosen[place] for place in sample_indices(len(chosen), samples)]
    if len(indices) < 2:
        raise ValueError(
            f'2 or more images are needed, but got {len(indices)}. Increase --samples, '
            'or choose classes that occur.'
        )
    loader = sample_loader(like.dataset, indices, like)
    meta = getattr(like.dataset, 'metainfo', {})
    if isinstance(model, LogitDistiller) and as_teacher:
        model.class_names = class_names(like.dataset)
        model.load_teacher()
        found = predict_as_teacher(model, loader)
        modules = [each.module for each in model.teacher.members.values()]
    else:
        found = predict(classifier, layer, loader)
        modules = [classifier]
    parameters = sum(map(count_parameters, modules))
    return found._replace(parameters=parameters), meta


def _distiller(config: str, label: str) -> tuple[Config, LogitDistiller]:
    """Build a distiller in order to run its teacher, live."""
    cfg = Config.fromfile(config)
    if 'teacher' in cfg.model:
        cfg.model.teacher = without_view_keys(cfg.model.teacher)
    model = build_model(cfg)
    if not isinstance(model, LogitDistiller):
        raise ValueError(
            f"{label} asks for the teacher of {config}, which has none: 'teacher' "
            'in place of a checkpoint needs the config of a distiller.'
        )
    return cfg, model.to(get_device()).eval()


def _choose(dataset: Any, classes: Sequence[int] | None) -> Sequence[int]:
    """Return the indices of the images of the given classes."""
    if classes is None:
        return range(len(dataset))
    if not hasattr(dataset, 'get_gt_labels'):
        raise ValueError(
            f'{type(dataset).__name__} does not provide labels before its images are '
            'read, so classes cannot be chosen.'
        )
    wanted = set(classes)
    return [i for i, each in enumerate(dataset.get_gt_labels()) if int(each) in wanted]
