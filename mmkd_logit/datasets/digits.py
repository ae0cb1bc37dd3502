"""Handwritten digits that ship with scikit-learn: real data without a download."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmkd_logit.registry import DATASETS

_SPLITS = {
    'train': slice(None, 1297),
    'test': slice(1297, None),
    'fit': slice(None, 1000),
    'val': slice(1000, 1297),
}


@DATASETS.register_module()
class Digits(BaseDataset):
    """1,797 handwritten digits of 8x8 grey pixels, ten classes.

    The first 1,297 are for training and the last 500 for testing. Choices that must not
    use the test images are made on the training images alone: 1,000 to fit and 297 to
    validate on.

    Source: https://doi.org/10.24432/C50P49, as shipped with scikit-learn.

    Args:
        split (str): 'train', 'test', or the parts of the training images, 'fit' and
            'val'. Defaults to 'train'.
        kwargs: Other settings of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        ValueError: If ``split`` is unknown.

    Example:
        >>> from mmkd_logit.datasets import Digits
        >>> len(Digits('train')), len(Digits('test'))
        (1297, 500)
        >>> Digits('test')[0]['img'].shape
        (8, 8, 1)
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, split: str = 'train', **kwargs: Any) -> None:
        if split not in _SPLITS:
            raise ValueError(
                f'split must be one of {list(_SPLITS)}, but got {split!r}.'
            )
        self.split = split
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return images (8, 8, 1) of type uint8 with their labels."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        # Pixels count ink from 0 to 16.
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        part = _SPLITS[self.split]
        return [
            {'img': image, 'gt_label': int(label)}
            for image, label in zip(images[part], digits.target[part])
        ]
