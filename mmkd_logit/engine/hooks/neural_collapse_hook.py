"""Neural collapse of the student's last layer, measured during training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmkd_logit.functional import neural_collapse
from mmkd_logit.models.distillers.predictions import (
    find_classifier,
    predict,
    sample_indices,
    sample_loader,
)
from mmkd_logit.registry import HOOKS
from mmkd_logit.rng import side_rng


@HOOKS.register_module()
class NeuralCollapseHook(Hook):
    """Logs NC1 to NC4 of the student, as ``nc/nc1`` and so on.

    They are those of :func:`mmkd_logit.functional.neural_collapse`, measured at the end
    of an epoch on the same random images each time, without augmentation. Training is
    not disturbed: batch statistics and torch's random numbers stay as they are. With
    several processes, only the first measures, since its batch statistics are saved in
    the checkpoint. It also works for a plain classifier. With an ``EMAHook``, the
    trained weights are measured, not the averaged ones.

    Args:
        epochs (int | Sequence[int]): Measure every so many epochs and after the last;
            or a list of epochs to measure after, counted from 1. Defaults to 1.
        max_samples (int): Maximum number of images. Use ten or more per class: NC1 is
            too small if they are few. Defaults to 2000.
        split (str): Source of the images: 'train', the training set with the pipeline
            of the validation set, or 'val', the validation set. Defaults to 'train'.

    Raises:
        ValueError: If a setting is out of range, or, when training starts, the loop
            counts iterations, or the datasets do not provide what ``split`` asks for.
        TypeError: When training starts, if the model is not a classifier with a linear
            last layer.

    Example:
        Often at first, then rarely::

            custom_hooks = [
                dict(type='mmkd_logit.NeuralCollapseHook', epochs=[1, 2, 5, 10, 30])]
    """

    def __init__(
        self,
        epochs: int | Sequence[int] = 1,
        max_samples: int = 2000,
        split: str = 'train',
    ) -> None:
        if min([epochs] if isinstance(epochs, int) else epochs, default=0) < 1:
            raise ValueError(
                'NeuralCollapseHook.epochs must be a number of epochs, or a list of '
                f'epochs counted from 1, but got {epochs}.'
            )
        if max_samples < 2:
            raise ValueError(
                'NeuralCollapseHook.max_samples must be 2 or more, but got '
                f'{max_samples}.'
            )
        if split not in ('train', 'val'):
            raise ValueError(
                f"NeuralCollapseHook.split must be 'train' or 'val', but got {split!r}."
            )
        self.epochs = epochs
        self.max_samples = max_samples
        self.split = split

    def before_train(self, runner: Runner) -> None:
        """Check model and data, and choose the images."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                'NeuralCollapseHook counts epochs, but the training loop counts '
                'iterations. Remove the hook, or set train_cfg.by_epoch=True.'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._student, self._layer = find_classifier(model, type(self).__name__)
        self._loader = self._make_loader(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure, if this epoch is due."""
        epoch = runner.epoch + 1
        if isinstance(self.epochs, int):
            due = epoch % self.epochs == 0 or self.is_last_train_epoch(runner)
        else:
            due = epoch in self.epochs
        if due:
            self._measure(runner, epoch)

    @master_only
    def _measure(self, runner: Runner, epoch: int) -> None:
        with side_rng():
            found = predict(self._student, self._layer, self._loader)
        if not found.features.isfinite().all():
            runner.logger.warning('NeuralCollapseHook: features are not finite.')
            return
        weight = self._student.get_submodule(self._layer).weight.detach().cpu()
        measured = neural_collapse(found.features, found.logits, found.labels, weight)
        values = {f'nc/{name}': value for name, value in measured._asdict().items()}
        runner.visualizer.add_scalars(values, step=epoch)
        shown = '  '.join(f'{name}: {value:.4f}' for name, value in values.items())
        runner.logger.info(f'Epoch(train) [{epoch}]  {shown}')

    def _make_loader(self, runner: Runner) -> DataLoader:
        if runner.val_loop is None:
            raise ValueError(
                'NeuralCollapseHook takes the images, or their pipeline, from the '
                'validation set, but the config has no val_dataloader. Add one, or '
                'remove the hook.'
            )
        like = runner.val_loop.dataloader
        dataset = like.dataset
        if self.split == 'train':
            dataset = _without_augmentation(runner.train_dataloader.dataset, dataset)
        indices = sample_indices(len(dataset), self.max_samples)
        return sample_loader(dataset, indices, like)


def _without_augmentation(train: Any, val: Any) -> Any:
    """Return the training set with the pipeline of the validation set."""
    # A wrapper that repeats images, such as RepeatDataset; others leave some out.
    while hasattr(train, 'dataset') and len(train) >= len(train.dataset):
        train = train.dataset
    if not (hasattr(train, 'pipeline') and hasattr(val, 'pipeline')):
        raise ValueError(
            "NeuralCollapseHook with split='train' needs a training and a validation "
            'set with a pipeline each, to load the training images without '
            f'augmentation, but got {type(train).__name__} and {type(val).__name__}. '
            "Set split='val'."
        )
    dataset = copy.copy(train)
    dataset.pipeline = val.pipeline
    return dataset
