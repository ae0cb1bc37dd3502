"""Support for images without labels in mmpretrain, also in mixed batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

_LABELS = ('gt_label', 'gt_score')


def has_label(sample: Any) -> bool:
    """Return whether a data sample of mmpretrain has a label.

    Args:
        sample (DataSample): Data sample of an image.
    """
    return any(name in sample for name in _LABELS)


def admit_unlabelled(preprocessor: nn.Module) -> None:
    """Let a data preprocessor of mmpretrain accept partly labelled batches.

    It assumes that all images have labels if the first one has. Hooks remove the labels
    of such a batch before it runs, and restore them afterwards.

    Args:
        preprocessor (nn.Module): The data preprocessor.
    """
    preprocessor.register_forward_pre_hook(_put_aside)
    preprocessor.register_forward_hook(_put_back)


def _put_aside(preprocessor: nn.Module, args: tuple[Any, ...]) -> None:
    samples: Sequence[Any] | None = args[0].get('data_samples') if args else None
    if not samples or not hasattr(samples[0], 'set_gt_label'):
        return
    if len({has_label(sample) for sample in samples}) == 1:
        return
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ValueError(
            'mixup and CutMix (batch augments) blend labels, but some images in the '
            'batch have none. Remove student.train_cfg.augments, or keep labelled and '
            'unlabelled images in separate batches.'
        )
    for sample in samples:
        kept = {name: sample.pop(name) for name in _LABELS if name in sample}
        sample.set_field(kept, 'put_aside', field_type='metainfo')


def _put_back(preprocessor: nn.Module, args: tuple[Any, ...], data: dict) -> None:
    for sample in data.get('data_samples') or ():
        kept = sample.pop('put_aside', None)
        for name, value in (kept or {}).items():
            sample.set_field(value.to(data['inputs'].device), name)
