"""Makes a resumed run repeat the random numbers of an uninterrupted one."""

from __future__ import annotations

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd_logit.registry import HOOKS
from mmkd_logit.rng import seed_all


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, NumPy and torch anew at the start of each training epoch.

    The seed follows from the one of the run, the epoch and the rank. A run that was
    killed and resumed at an epoch then goes on with the same dropout, mixup and
    augmentation as if it had not been. Augmentation in worker processes is seeded by
    mmengine, not by this hook: with persistent workers it does differ.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this epoch."""
        seed_all(runner.seed, runner.epoch, get_rank())
