"""Base class of all losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from mmkd_logit.dist import share_of_rows
from mmkd_logit.functional import lump_classes
from mmkd_logit.functional._checks import check_finite
from mmkd_logit.modules.losses.by_strips import losses_of
from mmkd_logit.modules.losses.row_transforms import TRANSFORMS, RowTransform
from mmkd_logit.structures import LogitRows, LogitStrips

_HEADS = ('main', 'aux')


class LogitLoss(nn.Module, ABC):
    """Base of the losses: picks the head, transforms the logits, weights the loss.

    A subclass implements :meth:`compute`; for use in configs, it is registered in
    ``mmkd_logit.registry.MODELS``. Its ``__init__`` names its own settings and passes
    on the common ones as ``**common``. A loss that treats each row separately sets
    ``by_row = True``, and is then computed in strips of a segmentor's pixels; one that
    compares only some of the rows implements :meth:`choose`.

    Args:
        loss_weight (float): Factor of the loss. Defaults to 1.0.
        head (str): The student logits that the loss acts on: ``'main'``, the
            student's own, or ``'aux'``, those of the auxiliary head. Defaults to
            'main'.
        transforms (Sequence[str | dict | RowTransform]): Row transforms, applied in
            this order to the logits of student and teacher before the loss: names such
            as 'standardize', configs, or objects. Defaults to ().

    Raises:
        ValueError: If ``loss_weight`` is not a finite number, or ``head`` is unknown.
        KeyError: If the name of a transform is unknown.
    """

    needs_labels: bool = False
    """Whether :meth:`compute` reads ``rows.labels``, which mixup removes."""

    by_row: bool = False
    """Whether :meth:`compute` is a mean over rows of terms that depend on one row each.
    A segmentor's maps are then resized, compared and discarded in strips, which saves
    memory; otherwise, all rows are made at once."""

    needs_pixels: ClassVar[bool] = False
    """Whether :meth:`compute` compares the rows of an image; a classifier has only one
    row per image."""

    gathers: bool = False
    """Whether :meth:`compute` waits for other processes, and so must also run in a
    process that has no rows."""

    takes_top_k: ClassVar[bool] = False
    """Whether :meth:`compute` compares only softmaxes at ``self.tau``, so that the
    classes below the teacher's top k can be merged into one."""

    renamed: ClassVar[Mapping[str, str]] = {
        'standardize': "Write transforms=('standardize',) for standardize=True, and "
        'remove the key otherwise.'
    }
    """Keys that older releases accepted, each with what to write instead."""

    schedule: float
    """Current factor of ``loss_weight``, set by ``LossWeightHook``."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        head: str = 'main',
        transforms: Sequence[str | dict | RowTransform] = (),
    ) -> None:
        super().__init__()
        check_finite('loss_weight', loss_weight)
        if head not in _HEADS:
            raise ValueError(f"head must be 'main' or 'aux', but got {head!r}.")
        self.loss_weight = loss_weight
        self.head = head
        if not isinstance(transforms, list | tuple):
            was = f' {self.renamed["standardize"]}' if transforms in (0, 1) else ''
            raise ValueError(
                "transforms must be a list of row transforms, such as ('standardize',)"
                f', but got {transforms!r}.{was}'
            )
        self.transforms = [
            _build_transform(each, f'transforms[{place}]')
            for place, each in enumerate(transforms)
        ]
        if any(transform.needs_labels for transform in self.transforms):
            self.needs_labels = True
        # A loss that gathers rows itself also weights them itself.
        self._weighs_rows = not self.gathers and any(
            transform.gathers for transform in self.transforms
        )
        self.gathers = self.gathers or self._weighs_rows
        self.schedule = 1.0

    @property
    def weight(self) -> float:
        """Current weight: ``loss_weight`` times ``schedule``."""
        return self.loss_weight * self.schedule

    @property
    def takes_strips(self) -> bool:
        """Whether it can be computed in strips: all its parts treat rows separately."""
        return self.by_row and all(each.by_row for each in self.transforms)

    def begin(self, images: int | None) -> str | None:
        """Prepare for training; called once, before the first step.

        Args:
            images (int, optional): Number of training images per epoch, over all
                processes; None if unknown.

        Returns:
            str, optional: A warning for the log, if there is one.
        """
        return None

    @abstractmethod
    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        """Compute the loss, without its weight.

        Args:
            student (Tensor): Student logits of the chosen head, transformed, shape
                (N, C).
            teacher (Tensor): Teacher logits, transformed, shape (N, C).
            rows (LogitRows): All that is known about the N rows.

        Returns:
            Tensor: A scalar.
        """

    def statistics(self) -> dict[str, Tensor]:
        """Return values to log beside the loss, as ``<name of the loss>_<key>``."""
        return {}

    def choose(self, rows: LogitRows | LogitStrips) -> LogitRows:
        """Return the rows to compare, before any transform.

        Args:
            rows (LogitRows | LogitStrips): The rows of the step.

        Returns:
            LogitRows: By default all of them, made at once.
        """
        return rows.whole

    def forward(self, rows: LogitRows | LogitStrips) -> Tensor:
        """Compute the weighted loss.

        Args:
            rows (LogitRows | LogitStrips): N rows of C classes.

        Returns:
            Tensor: A scalar. If the weight is 0 or there are no rows, it is 0 but still
            part of the graph, also for the parameters of the loss.
        """
        source = rows.source(self.head)
        if self.weight == 0 or (len(rows) == 0 and not self.gathers):
            return source[:0].sum() + touch(self)
        if isinstance(rows, LogitStrips) and self.takes_strips:
            return losses_of([self], rows)[0]
        chosen = self.choose(rows)
        student, teacher = chosen.source(self.head), chosen.teacher
        if chosen.top is not None:
            tau = self.check_top_k()
            student, teacher = (
                lump_classes(logits, chosen.top, tau) for logits in (student, teacher)
            )
        for transform in self.transforms:
            student, teacher = transform(student, teacher, chosen)
        weight: Tensor | float = self.weight
        if self._weighs_rows:
            weight *= share_of_rows(student)
        return weight * self.compute(student, teacher, chosen)

    def check_top_k(self) -> float:
        """Check that the loss does not need every logit of the teacher.

        Returns:
            float: Its temperature.

        Raises:
            ValueError: If it does, or has transforms, which always do.
        """
        if not self.takes_top_k or self.transforms:
            what = 'with transforms ' if self.takes_top_k else ''
            raise ValueError(
                f'{type(self).__name__} {what}needs every logit of the teacher, but '
                'the store keeps only the largest (top_k). Store the logits without '
                '--top-k.'
            )
        return float(self.tau)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        names = [type(transform).__name__ for transform in self.transforms]
        return (
            f'loss_weight={self.loss_weight}, head={self.head!r}, '
            f'transforms=[{", ".join(names)}]'
        )


def touch(module: nn.Module) -> Tensor | float:
    """Return a zero connected to every parameter of a module: DDP waits for all."""
    return sum((p.reshape(-1)[:0].sum() for p in module.parameters()), 0.0)


def _build_transform(transform: str | dict | RowTransform, where: str) -> RowTransform:
    if isinstance(transform, RowTransform):
        return transform
    if isinstance(transform, str) and transform in TRANSFORMS:
        return TRANSFORMS[transform]()
    try:
        from mmkd_logit.models.settings import build_part
        from mmkd_logit.registry import ROW_TRANSFORMS
    except ModuleNotFoundError as error:
        raise KeyError(
            f'{where} is {transform!r}, but must be one of {", ".join(TRANSFORMS)}, or '
            'a RowTransform. Configs and other names need an OpenMMLab stack, and none '
            'is installed.'
        ) from error
    settings = {'type': transform} if isinstance(transform, str) else transform
    return build_part(settings, where, registry=ROW_TRANSFORMS)
