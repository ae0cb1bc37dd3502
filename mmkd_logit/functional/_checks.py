"""Argument checks shared by all functions."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_logits(name: str, logits: Tensor) -> None:
    """Raise ``TypeError`` unless ``logits`` is a floating point tensor."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits)
        raise TypeError(
            f'{name} must be a floating point tensor of logits, but got {got}.'
        )


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Check that both are logits of the same rows and classes.

    Args:
        student (Tensor): Student logits of shape (N, C).
        teacher (Tensor): Teacher logits of shape (N, C).

    Raises:
        TypeError: If one of them is not a floating point tensor.
        ValueError: If their shapes differ or are not (N, C).
    """
    check_logits('student', student)
    check_logits('teacher', teacher)
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            'student and teacher must be logits of the same shape (rows, classes), '
            f'but got {tuple(student.shape)} and {tuple(teacher.shape)}. Flatten '
            'logit maps to rows first.'
        )


def check_target(target: Tensor, rows: int) -> None:
    """Check that ``target`` holds one class index per row.

    Args:
        target (Tensor): Class indices of shape (N,).
        rows (int): Number of rows, N.

    Raises:
        TypeError: If it is not an integer tensor.
        ValueError: If its shape is not (N,).
    """
    kind = target.dtype if isinstance(target, Tensor) else type(target)
    if kind not in _INTEGERS:
        raise TypeError(f'target must hold class indices, but got {kind}.')
    if target.shape != (rows,):
        raise ValueError(
            f'target must have the shape ({rows},), one class per row, but got '
            f'{tuple(target.shape)}.'
        )


def label_column(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """Check logits and labels, and return the labels as a column to index rows.

    Args:
        student (Tensor): Student logits of shape (N, C).
        teacher (Tensor): Teacher logits of shape (N, C).
        target (Tensor): Class indices of shape (N,).

    Returns:
        Tensor: Shape (N, 1), int64, on the logits' device.

    Raises:
        TypeError: If logits are not floating point tensors, or ``target`` is not an
            integer tensor.
        ValueError: If shapes do not match, or a class is not from 0 to C - 1.
    """
    check_pair(student, teacher)
    check_target(target, len(student))
    classes = student.shape[1]
    if len(target) and target.device.type == 'cpu':
        # Reading values would synchronize with a GPU, which checks indices itself.
        low, high = (int(bound) for bound in target.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f'target must hold classes from 0 to {classes - 1}, but got '
                f'{low if low < 0 else high}. Check the number of classes, and leave '
                'out rows whose label is to be ignored.'
            )
    return target.to(student.device, torch.int64)[:, None]


def check_finite(name: str, value: float) -> None:
    """Raise ``ValueError`` if a setting is not a finite number."""
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(f'{name} must be a finite number, but got {value!r}.')


def check_not_negative(name: str, value: float) -> None:
    """Raise ``ValueError`` if a setting is not a finite number of 0 or more."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(
            f'{name} must be a finite number of 0 or more, but got {value!r}.'
        )


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` if a setting is not a finite number above 0."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f'{name} must be a finite number above 0, but got {value!r}.')


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the dtype to compute in: float64 if any input has it, else float32."""
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if wide else torch.float32
