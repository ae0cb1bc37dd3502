"""Comparison of the classes of datasets and model, before training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Checks that datasets and model have the same classes.

    A class that lacks a folder in one of the datasets shifts the labels of all that
    follow, and a folder too many, such as a hidden one, is a class that the model does
    not have. Files that mmpretrain's datasets of folders skip are counted in the log.
    :func:`mmkd_logit.apis.build_runner` adds this hook to every run.

    Raises:
        ValueError: When training starts, if a class has different labels in the two
            datasets, or the model has another number of classes than the training set.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Compare the classes."""
        training = runner.train_dataloader.dataset
        _check_count(class_names(training), classes_of(runner.model))
        _count_skipped(runner, 'The training set', training)
        if runner.val_loop is not None:
            check_same_classes(
                class_names(runner.val_loop.dataloader.dataset),
                class_names(training),
                'The validation set',
                'the training set',
            )
            _count_skipped(
                runner, 'The validation set', runner.val_loop.dataloader.dataset
            )


def class_names(dataset: Dataset) -> tuple[str, ...] | None:
    """Return the class names of a dataset, if it has any."""
    names = getattr(dataset, 'metainfo', {}).get('classes')
    return tuple(map(str, names)) if names else None


def classes_of(model: nn.Module) -> int | None:
    """Return the number of classes of a toolbox's model; None if it is not known."""
    inner: Any = model.module if is_model_wrapper(model) else model
    inner = inner.student if isinstance(inner, LogitDistiller) else inner
    head = getattr(inner, 'head', getattr(inner, 'decode_head', None))
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    count = getattr(head, 'num_classes', None)
    return count if isinstance(count, int) else None


def _check_count(names: Sequence[str] | None, count: int | None) -> None:
    if not names or count is None or len(names) == count:
        return
    shown = ', '.join(map(repr, names[:5])) + (', ...' if len(names) > 5 else '')
    hidden = [name for name in names if name.startswith('.')]
    remedy = (
        f'{hidden[0]!r} is a hidden folder, not a class: delete it.'
        if hidden
        else 'Set num_classes of the head (and of the data_preprocessor), or the '
        "dataset's metainfo=dict(classes=[...])."
    )
    raise ValueError(
        f'The training set has {len(names)} classes ({shown}), but the model has '
        f'num_classes={count}. {remedy}'
    )


def _count_skipped(runner: Runner, which: str, dataset: Any) -> None:
    """Log the files that datasets of folders skip because of their suffixes."""
    if not is_main_process():
        return
    for part in _parts(dataset):
        if not hasattr(part, 'is_valid_file') or part.ann_file:
            continue
        folder = part.img_prefix
        if not folder or not Path(folder).is_dir():  # or in another storage
            continue
        skipped = Counter(
            Path(name).suffix.lower() or 'no suffix'
            for _, _, names in os.walk(folder)
            for name in names
            if not name.startswith('.') and not part.is_valid_file(name)
        )
        if skipped:
            kinds = ', '.join(f'{n} {kind}' for kind, n in skipped.most_common(5))
            runner.logger.warning(
                f'{which} skips {sum(skipped.values())} files in {folder}: {kinds}. It '
                f'reads {", ".join(part.extensions)}; convert them, or set extensions '
                'of the dataset.'
            )


def _parts(dataset: Any) -> Iterator[Any]:
    """Yield the datasets inside wrappers, such as RepeatDataset."""
    inside = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for each in inside:
        if each is None:
            yield dataset
        else:
            yield from _parts(each)


def check_same_classes(
    names: Sequence[str] | None,
    reference: Sequence[str] | None,
    who: str,
    whose: str,
) -> None:
    """Check that no class has different labels in two datasets.

    Args:
        names (Sequence[str], optional): Names of the classes, by label.
        reference (Sequence[str], optional): Those to compare with.
        who (str): Owner of ``names``, for the message.
        whose (str): Owner of ``reference``, for the message.

    Raises:
        ValueError: If a name has another label in ``reference``.
    """
    if not names or not reference:
        return
    for label, name in enumerate(names):
        if name not in reference or name in reference[label : label + 1]:
            continue
        message = (
            f'{who} numbers its classes differently from {whose}: {name!r} is class '
            f'{label}, not {reference.index(name)}, so labels would be wrong.'
        )
        for lacking, has, more in ((who, names, reference), (whose, reference, names)):
            missing = ', '.join(repr(each) for each in more if each not in has)
            if missing:
                message += f' {lacking[0].upper()}{lacking[1:]} lacks {missing}.'
        raise ValueError(
            f'{message} A dataset of folders numbers them in alphabetical order: give '
            'both the same folders (one may be empty), or the same metainfo.'
        )
