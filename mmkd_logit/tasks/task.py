"""Interface between the distiller and a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.tasks.logit_layer import layer_channels


class Task(ABC):
    """Knows where the logits are, which labels count, and how both become rows.

    Args:
        student (nn.Module): The student.
        resolution (str): Resolution at which rows are taken: 'student', that of the
            student's logits, or 'label', that of the labels. Defaults to 'student'.

    Raises:
        ValueError: If ``resolution`` is unknown or not supported by the task.
    """

    scope: ClassVar[str]
    """Default scope of configs of this task."""
    metric: ClassVar[str]
    """Metric by which models are usually compared, under its name in the log."""
    feature_ndim: ClassVar[int]
    """Number of dimensions of the last layer's input, including the batch."""
    blind_constructors: ClassVar[tuple[str, ...]] = ()
    """The toolbox's optimizer constructors that do not know a distiller's names."""
    resolutions: ClassVar[tuple[str, ...]] = ('student',)

    def __init__(self, student: nn.Module, resolution: str = 'student') -> None:
        if resolution not in self.resolutions:
            choices = ' or '.join(map(repr, self.resolutions))
            raise ValueError(
                f'resolution must be {choices} for a {type(student).__name__}, but '
                f'got {resolution!r}.'
            )
        self.resolution = resolution

    @classmethod
    @abstractmethod
    def fits(cls, model: nn.Module) -> bool:
        """Return whether a model is of this task."""

    @classmethod
    @abstractmethod
    def find_logit_layer(cls, model: nn.Module) -> str:
        """Return the name of the layer that outputs the logits.

        Args:
            model (nn.Module): A model of this task.

        Returns:
            str: Name of the layer in ``model``, such as ``'head.fc'``.

        Raises:
            ValueError: If there is no such layer or more than one.
        """

    @classmethod
    def loader_defaults(cls, loader: dict, pin_memory: bool) -> dict:
        """Return the defaults that the toolbox's own tools add to a data loader.

        Args:
            loader (dict): Config of the data loader.
            pin_memory (bool): Whether batches go to a GPU.

        Returns:
            dict: Defaults for the keys that the config lacks.
        """
        return {}

    @abstractmethod
    def meet_teachers(self, teachers: Sequence[nn.Module]) -> None:
        """Remember how to treat the logits of the teachers.

        Args:
            teachers (Sequence[nn.Module]): Their models.
        """

    @abstractmethod
    def meet_stored(self, traits: Mapping[str, Any]) -> None:
        """Remember how to treat stored logits.

        Args:
            traits (Mapping[str, Any]): What :meth:`traits` returned when the logits
                were stored.
        """

    @abstractmethod
    def traits(self) -> dict[str, Any]:
        """Return what must be stored with the logits of a single teacher."""

    @classmethod
    def count_classes(cls, model: nn.Module) -> int | None:
        """Return the number of classes of a model, or None if unknown until it runs.

        Args:
            model (nn.Module): The model.
        """
        try:
            layer = cls.find_logit_layer(model)
        except ValueError:
            return getattr(model, 'num_classes', None)
        return layer_channels(model.get_submodule(layer))[1]

    @classmethod
    @abstractmethod
    def check_activation(cls, model: nn.Module, who: str) -> None:
        """Refuse a model whose predictions are no softmax over its classes.

        Args:
            model (nn.Module): The model.
            who (str): Its name, for the message.

        Raises:
            ValueError: If it is such a model, such as a multi-label classifier.
        """

    @classmethod
    @abstractmethod
    def scores(cls, model: Any, inputs: Tensor, data_samples: Any) -> Any:
        """Return the probabilities that a model predicts.

        Args:
            model (BaseModel): The model, in evaluation mode.
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (list, optional): The toolbox's data samples, if there are
                any; predictions may be added to them.

        Returns:
            Tensor: Shape (N, C, ...). Anything else if it predicts something else.
        """

    @classmethod
    def scores_of(cls, model: Any, logits: Tensor, inputs: Tensor) -> Tensor:
        """Return the probabilities that a model should predict, given its logits.

        Args:
            model (BaseModel): The model.
            logits (Tensor): Shape (N, C, ...).
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).

        Returns:
            Tensor: In the shape of :meth:`scores`.
        """
        return logits.float().softmax(1)

    def read_labels(self, inputs: Tensor, data_samples: Sequence[Any]) -> Any:
        """Return the labels of a batch, checked before anything is computed.

        Args:
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (Sequence): The toolbox's data samples.

        Returns:
            Any: The ``labels`` of :meth:`make_rows`, or None if it reads them itself.
        """
        return None

    @abstractmethod
    def run_student(
        self, student: Any, inputs: Tensor, data_samples: Sequence[Any], labels: Any
    ) -> dict[str, Any]:
        """Run the student, and compute its own losses on the labelled images.

        Args:
            student (BaseModel): The student.
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (Sequence): The toolbox's data samples.
            labels (Any): What :meth:`read_labels` returned.

        Returns:
            dict: The losses; empty if no image has a label.

        Raises:
            ValueError: If only some of the images have labels, and the student cannot
                be trained on such a batch.
        """

    @abstractmethod
    def make_rows(
        self,
        student: Tensor,
        teacher: Tensor | Sequence[Tensor | None],
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Any,
        mixed: bool,
    ) -> LogitRows | LogitStrips:
        """Flatten the logits of a training step to rows.

        Args:
            student (Tensor): Logits of the student, shape (N, C, ...).
            teacher (Tensor | Sequence[Tensor | None]): Logits of the teacher, shape
                (N, C, ...), or of each of several teachers, None for an inactive one.
            aux (Tensor, optional): Logits of the auxiliary head, shape (N, C, ...).
            data_samples (Sequence): The toolbox's data samples, one per image.
            labels (Any): What :meth:`read_labels` returned.
            mixed (bool): Whether images were blended (mixup, CutMix), so that an
                image's original label is no longer valid.

        Returns:
            LogitRows | LogitStrips: A row for each prediction that counts. With several
            teachers, ``teacher`` holds the first, and ``members`` all of them.
        """

    def at_image_size(
        self, teachers: Sequence[Tensor | None], inputs: Tensor
    ) -> Sequence[Tensor | None]:
        """Return the logits of all teachers at one size.

        Args:
            teachers (Sequence[Tensor | None]): Logits of each, shape (N, C, ...).
            inputs (Tensor): The images, shape (N, channels, H, W).
        """
        return teachers

    @abstractmethod
    def predictions(
        self,
        student: Any,
        logits: Tensor,
        data_samples: Sequence[Any],
    ) -> list[Any]:
        """Turn logits into predictions in the form that the toolbox's evaluators take.

        Args:
            student (BaseModel): The student, whose post-processing is used.
            logits (Tensor): Logits of any model, shape (N, C, ...), at the size of
                :meth:`at_image_size`.
            data_samples (Sequence): The toolbox's data samples.

        Returns:
            list: Data samples with predictions.
        """


def rows_of_teachers(
    teacher: Tensor | Sequence[Tensor | None],
    take: Callable[[Tensor, int], Tensor],
) -> dict[str, Any]:
    """Return the fields of :class:`LogitRows` that hold the teacher's logits.

    Args:
        teacher (Tensor | Sequence[Tensor | None]): Logits of one teacher or of several.
        take (Callable): Returns the rows for given logits and a teacher's position.

    Returns:
        dict: ``teacher``, and ``members`` if there are several teachers.
    """
    if isinstance(teacher, Tensor):
        return {'teacher': take(teacher, 0)}
    members = [
        None if each is None else take(each, place)
        for place, each in enumerate(teacher)
    ]
    first = next(each for each in members if each is not None)
    return {'teacher': first, 'members': tuple(members)}


def collect(data_samples: Sequence[Any], key: str) -> list[Any] | None:
    """Return what the samples of a batch hold under a key; None if one lacks it."""
    values = [sample.get(key) for sample in data_samples]
    return None if not values or any(v is None for v in values) else values


def to_device(numbers: Sequence[int] | None, device: torch.device) -> Tensor | None:
    """Turn integers into a tensor without waiting for a GPU; None stays None."""
    if numbers is None:
        return None
    # A blocking copy would wait for the forward passes on the GPU.
    return torch.tensor(numbers).to(device, non_blocking=True)
