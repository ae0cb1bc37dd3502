"""What every function checks before it computes."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor


def check_logits(name: str, logits: Tensor) -> None:
    """Raise ``TypeError`` if something is not a floating point tensor."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits)
        raise TypeError(
            f'{name} must be a floating point tensor of logits, but got {got}.'
        )


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Raise if the two are not logits of the same rows and classes.

    Args:
        student (Tensor): Student logits of shape (N, C).
        teacher (Tensor): Teacher logits of shape (N, C).

    Raises:
        TypeError: If one of them is not a floating point tensor.
        ValueError: If their shapes are not one and the same (N, C).
    """
    check_logits('student', student)
    check_logits('teacher', teacher)
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            'student and teacher must be logits of the same shape (rows, classes), '
            f'but got {tuple(student.shape)} and {tuple(teacher.shape)}. Flatten '
            'maps of logits to rows first.'
        )


def check_finite(name: str, value: float) -> None:
    """Raise ``ValueError`` if a setting is not a finite number."""
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(f'{name} must be a finite number, but got {value!r}.')


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` if a setting is not a finite number above 0."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f'{name} must be a finite number above 0, but got {value!r}.')


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The type in which the maths is done: float32, or float64 if one of them is."""
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if wide else torch.float32
