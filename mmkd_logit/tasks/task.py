"""What the distiller must know of a task, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmkd_logit.structures import LogitRows
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

    def meet_teacher(self, name: str, teacher: nn.Module, classes: int) -> None:
        """Check that a teacher fits, and remember what its logits need.

        Args:
            name (str): The teacher's name, for messages.
            teacher (nn.Module): The teacher.
            classes (int): Number of the student's classes.

        Raises:
            ValueError: If the teacher has another number of classes. A model in which
                no last layer is found is checked in the first step.
        """
        try:
            layer = self.find_logit_layer(teacher)
        except ValueError:
            return
        theirs = layer_channels(teacher.get_submodule(layer))[1]
        _check_number(name, theirs, classes)

    def meet_stored(
        self, name: str, theirs: int, traits: Mapping[str, Any], classes: int
    ) -> None:
        """Check that stored logits fit, and remember what they need.

        Args:
            name (str): The teacher's name, for messages.
            theirs (int): Number of the teacher's classes.
            traits (Mapping[str, Any]): What :meth:`traits` gave when they were stored.
            classes (int): Number of the student's classes.

        Raises:
            ValueError: If the teacher has another number of classes.
        """
        _check_number(name, theirs, classes)

    def traits(self) -> dict[str, Any]:
        """What the teacher's logits need, as stored with them."""
        return {}

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
    def make_rows(
        self,
        student: Tensor,
        teacher: Tensor,
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Any,
        mixed: bool,
    ) -> LogitRows:
        """Flatten the logits of a step to rows.

        Args:
            student (Tensor): Logits of the student, shape (N, C, ...).
            teacher (Tensor): Logits of the teacher, shape (N, C, ...).
            aux (Tensor, optional): Logits of the auxiliary head, shape (N, C, ...).
            data_samples (Sequence): The toolbox's data samples, one for each image.
            labels (Any): What :meth:`read_labels` gave.
            mixed (bool): Whether images were blended (mixup, CutMix), so that the
                label that an image came with is no longer its label.

        Returns:
            LogitRows: A row for each prediction that counts.
        """

    @abstractmethod
    def predictions(
        self,
        student: Any,
        logits: Tensor,
        inputs: Tensor,
        data_samples: Sequence[Any],
    ) -> list[Any]:
        """Predictions as the toolbox's evaluators take them, from bare logits.

        Args:
            student (BaseModel): The student, whose post-processing is used.
            logits (Tensor): Of any model, shape (N, C, ...).
            inputs (Tensor): The images, shape (N, channels, H, W).
            data_samples (Sequence): The toolbox's data samples.

        Returns:
            list: Data samples with predictions.
        """


def _check_number(name: str, theirs: int, classes: int) -> None:
    if theirs != classes:
        raise ValueError(
            f'{name} predicts {theirs} classes, but the student {classes}. Both must '
            'be trained on the same classes.'
        )


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
