"""Random numbers that leave those of the plain student's training alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def side_rng() -> Iterator[None]:
    """Draw from a separate stream inside the ``with`` block.

    What the plain student does not have (the teacher, an auxiliary head) draws from
    it, so that a student starts from the same weights with and without distillation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch.initial_seed() + 1)
        yield


def seed_all(*words: int) -> None:
    """Seed Python, NumPy and torch from several integers.

    Args:
        words (int): Such as seed, epoch and rank; other words, another seed.
    """
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
