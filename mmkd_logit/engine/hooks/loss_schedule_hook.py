"""Base class of the hooks that schedule distillation losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmkd_logit.models.distillers import distiller_in


class LossScheduleHook(Hook):
    """Calls :meth:`schedule` before each epoch or iteration, and when training starts.

    Args:
        names (Sequence[str] | str, optional): Names of the losses in the distiller.
            Defaults to None: all of them.
        by_epoch (bool): Whether a step is an epoch or an iteration. Defaults to True.

    Raises:
        ValueError: When training starts, if the distiller has no loss of such a name,
            or the training loop counts iterations and so has no epochs.
    """

    settings: str
    """Names of the settings that count steps, for the message."""

    def __init__(
        self, names: Sequence[str] | str | None = None, by_epoch: bool = True
    ) -> None:
        self.names = [names] if isinstance(names, str) else names
        self.by_epoch = by_epoch

    def before_train(self, runner: Runner) -> None:
        """Check the names, and schedule the first or resumed step."""
        who = type(self).__name__
        losses = dict(distiller_in(runner.model, who).named_losses())
        unknown = [name for name in self.names or () if name not in losses]
        if unknown:
            raise ValueError(
                f'{who} names the losses {unknown}, but the distiller has '
                f'{list(losses)}.'
            )
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                f'{who} counts epochs, but the training loop counts iterations. Set '
                f'by_epoch=False, and give {self.settings} in iterations.'
            )
        self.schedule(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Schedule this epoch."""
        if self.by_epoch:
            self.schedule(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Schedule this iteration."""
        if not self.by_epoch:
            self.schedule(runner)

    @abstractmethod
    def schedule(self, runner: Runner) -> None:
        """Set what this step needs."""

    def step(self, runner: Runner) -> int:
        """Return the current epoch or iteration, counted from 0."""
        return runner.epoch if self.by_epoch else runner.iter
