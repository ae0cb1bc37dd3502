"""What the distiller must know of a task, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.tasks.logit_layer import layer_channels


class Task(ABC):
    """Knows where logits are, which labels count, and how both become rows.

    Args:
        student (nn.Module): The student.
        resolution (str): Where rows are taken: 'student', at the resolution of the
            student's logits, or 'label', at that of the labels. Defaults to
            'student'.

    Raises:
        ValueError: If ``resolution`` is unknown, or the task has no such choice.
    """

    scope: ClassVar[str]
    """Default scope of configs of this task."""
    metric: ClassVar[str]
    """Metric by which models are usually compared, as the toolbox logs it."""
    feature_ndim: ClassVar[int]
    """Dimensions of what goes into the last layer, the batch included."""
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
        """Whether a model is of this task."""

    @classmethod
    @abstractmethod
    def find_logit_layer(cls, model: nn.Module) -> str:
        """Name of the layer that gives the logits.

        Args:
            model (nn.Module): A model of this task.

        Returns:
            str: Name of the layer in ``model``, such as ``'head.fc'``.

        Raises:
            ValueError: If there is no such layer, or more than one.
        """

    @classmethod
    def loader_defaults(cls, loader: dict, pin_memory: bool) -> dict:
        """What the toolbox's own tools add to the config of a data loader.

        Args:
            loader (dict): The config.
            pin_memory (bool): Whether batches go to a GPU.

        Returns:
            dict: Settings for the keys that the config lacks.
        """
        return {}

    @abstractmethod
    def meet_teachers(self, teachers: Sequence[nn.Module]) -> None:
        """Remember what the logits of the teachers need.

        Args:
            teachers (Sequence[nn.Module]): Their models.
        """

    @abstractmethod
    def meet_stored(self, traits: Mapping[str, Any]) -> None:
        """Remember what stored logits need.

        Args:
            traits (Mapping[str, Any]): What :meth:`traits` gave when they were stored.
        """

    @abstractmethod
    def traits(self) -> dict[str, Any]:
        """What the logits of the only teacher need, as stored with them."""

    @classmethod
    def count_classes(cls, model: nn.Module) -> int | None:
        """Number of classes that a model predicts, if it is known before it runs.

        Args:
            model (nn.Module): The model.
        """
        try:
            layer = cls.find_logit_layer(model)
        except ValueError:
            return getattr(model, 'num_classes', None)
        return layer_channels(model.get_submodule(layer))[1]

    def read_labels(self, inputs: Tensor, data_samples: Sequence[Any]) -> Any:
        """Labels of a batch, checked before anything is computed.

        Args:
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (Sequence): The toolbox's data samples.

        Returns:
            Any: What :meth:`make_rows` takes as ``labels``. None if it reads them
            itself.
        """
        return None

    @abstractmethod
    def run_student(
        self, student: Any, inputs: Tensor, data_samples: Sequence[Any], labels: Any
    ) -> dict[str, Any]:
        """One forward pass of the student, with its own losses on what has labels.

        Args:
            student (BaseModel): The student.
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (Sequence): The toolbox's data samples.
            labels (Any): What :meth:`read_labels` gave.

        Returns:
            dict: The losses; none if no image has a label.

        Raises:
            ValueError: If a part of the images has labels, and the student cannot be
                trained on a part.
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
        """Flatten the logits of a step to rows.

        Args:
            student (Tensor): Logits of the student, shape (N, C, ...).
            teacher (Tensor | Sequence[Tensor | None]): Logits of the teacher, shape
                (N, C, ...), or of each of several, None for one that rests.
            aux (Tensor, optional): Logits of the auxiliary head, shape (N, C, ...).
            data_samples (Sequence): The toolbox's data samples, one for each image.
            labels (Any): What :meth:`read_labels` gave.
            mixed (bool): Whether images were blended (mixup, CutMix), so that the
                label that an image came with is no longer its label.

        Returns:
            LogitRows | LogitStrips: A row for each prediction that counts. Of several
            teachers, ``teacher`` is the first, and ``members`` are all.
        """

    def at_image_size(
        self, teachers: Sequence[Tensor | None], inputs: Tensor
    ) -> Sequence[Tensor | None]:
        """Logits of the teachers at one size.

        Args:
            teachers (Sequence[Tensor | None]): Those of each, shape (N, C, ...).
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
        """Predictions as the toolbox's evaluators take them, from bare logits.

        Args:
            student (BaseModel): The student, whose post-processing is used.
            logits (Tensor): Of any model, shape (N, C, ...), at the size of
                :meth:`at_image_size`.
            data_samples (Sequence): The toolbox's data samples.

        Returns:
            list: Data samples with predictions.
        """


def rows_of_teachers(
    teacher: Tensor | Sequence[Tensor | None],
    take: Callable[[Tensor, int], Tensor],
) -> dict[str, Any]:
    """The fields of :class:`LogitRows` that hold the teacher's logits.

    Args:
        teacher (Tensor | Sequence[Tensor | None]): Logits of one, or of several.
        take (Callable): Gives rows from logits, and the place of the teacher.

    Returns:
        dict: ``teacher``, and ``members`` if there are several.
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
    """What all samples of a batch hold under a key; None if one lacks it."""
    values = [sample.get(key) for sample in data_samples]
    return None if not values or any(v is None for v in values) else values


def to_device(numbers: Sequence[int] | None, device: torch.device) -> Tensor | None:
    """Integers as a tensor, without waiting for a GPU; None stays None."""
    if numbers is None:
        return None
    # A blocking copy would wait for the forward passes on the GPU.
    return torch.tensor(numbers).to(device, non_blocking=True)
