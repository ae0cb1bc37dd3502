"""Comparison of the class names of two datasets."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Checks that the validation set numbers its classes as the training set does.

    A class that lacks a folder in one of them shifts the labels of all that follow.
    :func:`mmkd_logit.apis.build_runner` adds this hook to every run.

    Raises:
        ValueError: When training starts, if a class has different labels in the two.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Compare the class names."""
        if runner.val_loop is not None:
            check_same_classes(
                class_names(runner.val_loop.dataloader.dataset),
                class_names(runner.train_dataloader.dataset),
                'The validation set',
                'the training set',
            )


def class_names(dataset: Dataset) -> tuple[str, ...] | None:
    """Return the class names of a dataset, if it has any."""
    names = getattr(dataset, 'metainfo', {}).get('classes')
    return tuple(map(str, names)) if names else None


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
