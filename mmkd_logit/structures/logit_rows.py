"""Logits of one training step, flattened to rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

PullBack = Callable[[str, Tensor, Tensor], None]


@dataclass(frozen=True)
class LogitRows:
    """The logits of one step. A row is one prediction.

    Attributes:
        student (Tensor): Logits of the student's own head, shape (N, C).
        teacher (Tensor): Logits of the teacher, shape (N, C), without gradient.
        aux (Tensor, optional): Logits of the auxiliary head, shape (N, C).
        labels (Tensor, optional): Class indices, shape (N,). None where there is
            not one hard label per row, as with mixup and CutMix.
        image_index (Tensor, optional): Number of the image that each row comes from,
            shape (N,): the same in every epoch, and different for every image.
        batch_index (Tensor, optional): Position in the batch of the image that each row
            comes from, shape (N,). An image that occurs twice has two positions.
        top (Tensor, optional): Classes of the teacher's largest logits, shape (N, k),
            if only those are known: the others share their total mass equally.
            Defaults to None: all are known.
        members (tuple[Tensor | None, ...]): Logits of each of several teachers, shape
            (N, C), None for one that is not run. Empty if there is only one.

    Raises:
        ValueError: If the parts do not have the same rows and classes.
    """

    student: Tensor
    teacher: Tensor
    aux: Tensor | None = None
    labels: Tensor | None = None
    image_index: Tensor | None = None
    batch_index: Tensor | None = None
    top: Tensor | None = None
    members: tuple[Tensor | None, ...] = ()

    def __post_init__(self) -> None:
        if self.student.ndim != 2:
            raise ValueError(
                'The last layer of the student must give logits of shape (rows, '
                f'classes), but gave {tuple(self.student.shape)}.'
            )
        of_all = [('teacher', self.teacher), ('aux', self.aux)]
        for name, value in [*of_all, *(('teacher', each) for each in self.members)]:
            if value is not None and value.shape != self.student.shape:
                raise ValueError(
                    f'{name} has the shape {tuple(value.shape)}, but the student has '
                    f'{tuple(self.student.shape)} (rows, classes). Both must predict '
                    'the same classes for the same images.'
                )
        for name in ('labels', 'image_index', 'batch_index'):
            value = getattr(self, name)
            if value is not None and value.shape != self.student.shape[:1]:
                raise ValueError(
                    f'{name} has the shape {tuple(value.shape)}, but there are '
                    f'{len(self.student)} rows.'
                )

    def one_label_per_row(self, who: str) -> Tensor:
        """Return the labels, for a caller that cannot do without.

        Args:
            who (str): Name of the caller, for the message.

        Returns:
            Tensor: Class indices, shape (N,).

        Raises:
            ValueError: If there are none.
        """
        if self.labels is None:
            raise ValueError(
                f'{who} needs one label per row, but the data has none, as with mixup, '
                'CutMix or several labels per image. Use a loss without labels, or '
                'change the data.'
            )
        return self.labels

    def __len__(self) -> int:
        return len(self.student)

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.student.shape[1]

    @property
    def whole(self) -> LogitRows:
        """All rows at once: this object."""
        return self

    def source(self, head: str) -> Tensor:
        """Return what the logits of a head come from, in the step's graph: themselves.

        Args:
            head (str): 'main', the student's own, or 'aux', the auxiliary head.

        Returns:
            Tensor: Shape (N, C).

        Raises:
            ValueError: If there is no such head.
        """
        return pick_head(head, self.student, self.aux)

    def take(self, index: Tensor) -> LogitRows:
        """Return some of the rows.

        Args:
            index (Tensor): Their indices, shape (n,).

        Returns:
            LogitRows: Those rows, in the graph of the step.
        """

        def some(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.index_select(0, index)

        return LogitRows(
            self.student.index_select(0, index),
            self.teacher.index_select(0, index),
            some(self.aux),
            some(self.labels),
            some(self.image_index),
            some(self.batch_index),
            some(self.top),
            tuple(map(some, self.members)),
        )


class LogitStrips(ABC):
    """The logits of one step, as rows made from maps one strip at a time.

    ``len()`` is the number of all rows. Only :attr:`whole` holds them all at once.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes C."""

    @property
    @abstractmethod
    def whole(self) -> LogitRows:
        """All rows at once, in the graph of the step."""

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """Class indices of all rows, shape (N,)."""

    @abstractmethod
    def source(self, head: str) -> Tensor:
        """Return the map that the logits of a head come from, in the step's graph.

        Args:
            head (str): 'main', the student's own, or 'aux', the auxiliary head.

        Returns:
            Tensor: Of any shape.

        Raises:
            ValueError: If there is no such head.
        """

    @abstractmethod
    def take(self, index: Tensor) -> LogitRows:
        """Return some of the rows.

        Args:
            index (Tensor): Their indices, shape (n,).

        Returns:
            LogitRows: Those rows, in the graph of the step.
        """

    @abstractmethod
    def strips(self) -> Iterator[tuple[LogitRows, PullBack]]:
        """Yield all rows in order, in parts, outside the step's graph.

        Yields:
            tuple[LogitRows, Callable]: Some rows, and a function ``pull_back(head,
            grad, into)``. It takes the gradient for these rows of a head, shape (n,
            C), maps it to the head's source, and adds it to ``into``, which comes from
            :meth:`new_grad`.
        """

    @abstractmethod
    def new_grad(self, head: str) -> Tensor:
        """Return zeros in the shape of a head's source, to add gradients to."""


def pick_head(head: str, student: Tensor, aux: Tensor | None) -> Tensor:
    """Return the logits of 'main' or 'aux'; raise ``ValueError`` if there are none."""
    if head == 'main':
        return student
    if aux is None:
        raise ValueError(
            "A loss has head='aux', but the step has no logits of an auxiliary head. "
            'Give the distiller an aux_head.'
        )
    return aux
