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


def _is_plain(value: Any, depth: int = 8) -> bool:
    """Return whether a value is a number, text, or a list or dict of these."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(part, depth - 1) for part in value)
    return isinstance(value, str | int | float | None)


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
        'meta': {k: meta[k] for k in kept if k in meta and _is_plain(meta[k])},
        'state_dict': student_weights(weights),
    }
