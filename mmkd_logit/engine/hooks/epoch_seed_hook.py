"""Seeding that lets a resumed run repeat the numbers of an uninterrupted one."""

from __future__ import annotations

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd_logit.registry import HOOKS
from mmkd_logit.rng import seed_all


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseeds Python, NumPy and torch at the start of each training epoch.

    The seed is derived from the run's seed, the epoch and the rank. A run that was
    killed and resumed at an epoch then continues with the same dropout, mixup and
    augmentation as an uninterrupted one. Augmentation in worker processes is seeded by
    mmengine, not by this hook: with persistent workers it does differ.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this epoch."""
        seed_all(runner.seed, runner.epoch, get_rank())
