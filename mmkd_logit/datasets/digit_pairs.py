"""Two-digit handwritten numbers: a harder task from the same data."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmkd_logit.datasets.digits import Digits
from mmkd_logit.registry import DATASETS

_SEEDS = {'train': 0, 'test': 1, 'fit': 2, 'val': 3}


@DATASETS.register_module()
class DigitPairs(Digits):
    """Noisy numbers from 00 to 99: 100 classes, 8x16 grey pixels.

    Each image is two images of :class:`Digits`, drawn at random from the same split,
    with normal noise on every pixel. The same settings always give the same images.

    Args:
        split (str): 'train', 'test', 'fit' or 'val', as in :class:`Digits`. Defaults to
            'train'.
        per_class (int): Number of images per class. Defaults to 20.
        noise (float): Standard deviation of the noise, in grey levels of 255. Defaults
            to 80.0.
        kwargs: Other settings of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> from mmkd_logit.datasets import DigitPairs
        >>> pairs = DigitPairs('test', per_class=2)
        >>> len(pairs), pairs[199]['img'].shape, pairs[199]['gt_label']
        (200, (8, 16, 1), 99)
    """

    METAINFO = {'classes': tuple(f'{number:02}' for number in range(100))}

    def __init__(
        self,
        split: str = 'train',
        per_class: int = 20,
        noise: float = 80.0,
        **kwargs: Any,
    ) -> None:
        if per_class < 1 or noise < 0:
            raise ValueError(
                'per_class must be 1 or more and noise not negative, but got '
                f'per_class={per_class}, noise={noise}.'
            )
        self.per_class = per_class
        self.noise = noise
        super().__init__(split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return images (8, 16, 1) of type uint8 with their labels."""
        digits = super().load_data_list()
        images = np.stack([digit['img'] for digit in digits])
        labels = np.array([digit['gt_label'] for digit in digits])
        random = np.random.default_rng(_SEEDS[self.split])
        pairs = []
        for number in range(100):
            halves = [
                images[random.choice(np.flatnonzero(labels == digit), self.per_class)]
                for digit in divmod(number, 10)
            ]
            both = np.concatenate(halves, axis=2)
            noisy = both + random.normal(0, self.noise, both.shape)
            noisy = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
            pairs += [{'img': image, 'gt_label': number} for image in noisy]
        return pairs
