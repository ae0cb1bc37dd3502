"""Several teachers whose logits are averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from mmkd_logit.functional._checks import check_finite
from mmkd_logit.models.settings import check_keys
from mmkd_logit.models.teachers.teacher import Teacher
from mmkd_logit.views import KEYS

AVERAGES = ('logits', 'probabilities')
_OWN = ('name', 'weight')


class Teachers:
    """Several frozen teachers, each with its own preprocessing and classes.

    Args:
        settings (Sequence[dict]): Those of each :class:`Teacher`, with two in addition:
            ``weight``, its share in the average, which defaults to 1.0, and ``name``,
            its name in the log, which defaults to its position. A teacher of weight 0
            does not run.
        average (str): 'logits': the mean of the logits; 'probabilities': the logarithm
            of the mean of their softmax. Defaults to 'logits'.

    Raises:
        TypeError: If a teacher has an unknown key.
        ValueError: If there are fewer than two teachers, two have the same name, a
            weight is negative, all weights are 0, or ``average`` is unknown.
    """

    def __init__(self, settings: Sequence[dict], average: str = 'logits') -> None:
        if average not in AVERAGES:
            raise ValueError(
                f'teacher_average must be {" or ".join(map(repr, AVERAGES))}, but got '
                f'{average!r}.'
            )
        if len(settings) < 2:
            raise ValueError(
                f'A list of teachers needs two or more, but got {len(settings)}. Write '
                'a single teacher as a dict.'
            )
        self.averages = average
        self.members: dict[str, Teacher] = {}
        """The teachers by name."""
        self.weights: dict[str, float] = {}
        """The weight of each, before division by their sum."""
        for place, each in enumerate(settings):
            self._add(each, place)
        if not any(self.weights.values()):
            raise ValueError(
                'All teachers have weight 0. Give one of them a weight, or set '
                'loss_weight=0 for a student without distillation.'
            )

    def _add(self, settings: Any, place: int) -> None:
        where = f'teacher[{place}]'
        if not isinstance(settings, Mapping):
            raise ValueError(f'{where} must be a dict, but got {settings!r}.')
        name, weight = settings.get('name', str(place)), settings.get('weight', 1.0)
        if not isinstance(name, str) or 'loss' in name or name in self.members:
            raise ValueError(
                f"{where}.name must be a string without 'loss' in it, different for "
                f'each teacher, but got {name!r}.'
            )
        check_finite(f'{where}.weight', weight)
        if weight < 0:
            raise ValueError(f'{where}.weight must not be negative, but got {weight}.')
        of_views = [key for key in KEYS if key in settings]
        if of_views:
            raise ValueError(
                f'{where}.{of_views[0]} cannot be set: views and stored logits need a '
                'single teacher, in a dict. Remove it, or keep one teacher.'
            )
        own = {key: value for key, value in settings.items() if key not in _OWN}
        check_keys(Teacher, own, where)
        self.members[name], self.weights[name] = Teacher(**own), float(weight)

    def __deepcopy__(self, memo: dict) -> Teachers:
        """Return itself: copies of the distiller, as EMA makes them, share it."""
        return self

    @property
    def name(self) -> str:
        """Their names in messages."""
        return ' and '.join(each.name for each in self.members.values())

    @property
    def checkpoint(self) -> list[str | None]:
        """The checkpoint of each."""
        return [each.checkpoint for each in self.members.values()]

    @property
    def loaded(self) -> bool:
        """Whether all are built and have their weights."""
        return all(each.loaded for each in self.members.values())

    @property
    def predicts(self) -> bool:
        """Whether they make predictions on their own."""
        return False

    def load(self, student: BaseModel) -> None:
        """Build all teachers and load their weights; see :meth:`Teacher.load`."""
        if self.loaded:
            return
        for each in self.members.values():
            each.load(student)
        shares = ', '.join(
            f'{weight / sum(self.weights.values()):.3g} of {self.members[name].name}'
            for name, weight in self.weights.items()
        )
        print_log(
            f'The student learns from the mean of {self.averages}: {shares}.',
            logger='current',
        )

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        for each in self.members.values():
            each._apply(fn)

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> list[Tensor | None]:
        """Compute each teacher's logits of preprocessed images; None at weight 0."""
        return [
            each(inputs, data_samples) if self.weights[name] else None
            for name, each in self.members.items()
        ]

    @torch.no_grad()
    def average(self, logits: Sequence[Tensor | None]) -> Tensor:
        """Return the weighted average of the teachers' outputs.

        Args:
            logits (Sequence[Tensor | None]): Logits of each teacher, shape
                (N, C, ...); None for one of weight 0.

        Returns:
            Tensor: The same shape, in float32 or wider.
        """
        weights = [w for w, each in zip(self.weights.values(), logits) if w]
        awake = torch.stack(
            [
                each.float() if each.dtype.itemsize < 4 else each
                for each in _there(logits)
            ]
        )
        shares = awake.new_tensor(weights).view(-1, *[1] * (awake.ndim - 1))
        shares = shares / shares.sum()
        if self.averages == 'logits':
            return (awake * shares).sum(0)
        return (awake.log_softmax(2) + shares.log()).logsumexp(0)


def _there(logits: Sequence[Tensor | None]) -> list[Tensor]:
    return [each for each in logits if each is not None]
