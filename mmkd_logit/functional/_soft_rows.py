"""Softmax of both models' logits, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mmkd_logit.functional._checks import check_pair, check_positive, compute_dtype
from mmkd_logit.functional._closed_form import chunk_rows, temper_

SumOverRanks = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes, so that each gets the sum."""


class SoftRows:
    """Probabilities of student and teacher that can be iterated over repeatedly.

    They are recomputed on each pass, and kept only if one chunk holds all rows.

    Args:
        student (Tensor): Student logits of shape (N, C).
        teacher (Tensor): Teacher logits of shape (N, C). Gets no gradient.
        tau (float): Temperature, above 0.

    Raises:
        TypeError: If an input is not a floating point tensor.
        ValueError: If the shapes differ or are not (N, C), or ``tau`` is not a
            finite number above 0.
    """

    def __init__(self, student: Tensor, teacher: Tensor, tau: float) -> None:
        check_positive('tau', tau)
        check_pair(student, teacher)
        self.student, self.teacher = student.detach(), teacher.detach()
        self.tau = tau
        self.dtype = compute_dtype(student, teacher)
        self.parts = list(chunk_rows(student))
        self.one = torch.ones((), dtype=self.dtype, device=student.device)
        """1, or NaN after the first pass if a logit is not finite."""
        self._kept: tuple[Tensor, Tensor] | None = None

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield rows with their probabilities for the student and the teacher."""
        for part in self.parts:
            soft = self._kept or (
                self._softmax(self.student[part]),
                self._softmax(self.teacher[part]),
            )
            if len(self.parts) == 1:
                self._kept = soft
            yield part, *soft

    def _softmax(self, logits: Tensor) -> Tensor:
        copied = logits.to(self.dtype, copy=True)
        self.one = self.one * temper_(copied, self.tau)
        return copied.softmax(1)

    def forget(self) -> None:
        """Free the cached probabilities."""
        self._kept = None

    def back(self, probabilities: Tensor, slope: Tensor) -> Tensor:
        """Map a gradient for the student's probabilities to one for its logits.

        Args:
            probabilities (Tensor): The student's, shape (n, C).
            slope (Tensor): Gradient for them, shape (n, C); overwritten.

        Returns:
            Tensor: Shape (n, C).
        """
        mean = (probabilities * slope).sum(1, keepdim=True)
        return slope.sub_(mean).mul_(probabilities).mul_(self.one / self.tau)


def alone(tensor: Tensor) -> Tensor:
    """Return the sum over processes when there is only one."""
    return tensor
