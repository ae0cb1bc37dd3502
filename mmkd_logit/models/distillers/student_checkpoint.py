"""Extraction of the plain student from a distiller's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PREFIX = 'student.'


def student_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the student alone, under the names of the plain model.

    Args:
        weights (Mapping[str, Tensor]): ``state_dict`` of a :class:`LogitDistiller`.

    Returns:
        dict[str, Tensor]: ``state_dict`` of its student, on the CPU.

    Raises:
        ValueError: If they are not the weights of a distiller.
    """
    student = {
        key.removeprefix(_PREFIX): value.cpu()
        for key, value in weights.items()
        if key.startswith(_PREFIX)
    }
    if not student:
        raise ValueError(
            "These are not the weights of a distiller: no name begins with 'student.'; "
            f'the first is {next(iter(weights), None)!r}.'
        )
    return student


def student_checkpoint(
    weights: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> dict[str, dict]:
    """Make a checkpoint that the toolboxes load without this package.

    Args:
        weights (Mapping[str, Tensor]): ``state_dict`` of a :class:`LogitDistiller`.
        meta (Mapping[str, Any]): ``meta`` of its checkpoint. Its class names, epoch
            and iteration are kept; the distiller's config is not.

    Returns:
        dict[str, dict]: With ``meta`` and ``state_dict``.
    """
    kept = ('dataset_meta', 'epoch', 'iter', 'mmengine_version', 'seed')
    return {
        'meta': {key: meta[key] for key in kept if key in meta},
        'state_dict': student_weights(weights),
    }
