"""Random numbers that do not disturb those of the plain student's training."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def side_rng() -> Iterator[None]:
    """Draw from a separate stream inside the ``with`` block.

    Whatever the plain student does not have (a teacher, an auxiliary head) draws from
    it, so that the student starts from the same weights with and without distillation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch.initial_seed() + 1)
        yield


@contextmanager
def kept_rng() -> Iterator[None]:
    """Restore Python's, NumPy's and torch's CPU generators afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_cpu(*words: int) -> None:
    """Seed Python, NumPy and torch on the CPU from several integers, in microseconds.

    Args:
        words (int): Such as seed, view and index; other words give another seed.
    """
    text = ' '.join(map(str, words)).encode()
    seed = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), 'little')
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed would seed the GPUs as well.
    torch.default_generator.manual_seed(seed)


def seed_all(*words: int) -> None:
    """Seed Python, NumPy and torch from several integers.

    Args:
        words (int): Such as seed, epoch and rank; other words give another seed.
    """
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
