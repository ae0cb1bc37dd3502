"""Reader of STL-10, which mmpretrain lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torchvision
from mmpretrain.datasets import BaseDataset

from mmkd_logit.registry import DATASETS

_FOLDER = 'stl10_binary'


@DATASETS.register_module()
class STL10(BaseDataset):
    """The labelled images of STL-10: ten classes, 96x96 pixels, RGB.

    5,000 are for training and 8,000 for testing. The 100,000 unlabelled images are not
    read, and need not be there.

    Source: https://cs.stanford.edu/~acoates/stl10

    Args:
        data_root (str): The folder that contains ``stl10_binary``, unpacked from the
            archive.
        split (str): 'train' or 'test'. Defaults to 'train'.
        kwargs: Other settings of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If ``split`` is unknown, or a file is not STL-10's.
    """

    METAINFO = {
        'classes': (
            *('airplane', 'bird', 'car', 'cat', 'deer'),
            *('dog', 'horse', 'monkey', 'ship', 'truck'),
        )
    }
    url = torchvision.datasets.STL10.url
    files: ClassVar[dict[str, list[list]]] = {
        'train': torchvision.datasets.STL10.train_list[:2],
        'test': torchvision.datasets.STL10.test_list,
    }
    """Images and labels of each split, with their MD5 sums."""

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        if split not in self.files:
            raise ValueError(
                f'split must be one of {list(self.files)}, but got {split!r}.'
            )
        self.split = split
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return images (96, 96, 3) of type uint8 with their labels."""
        pixels, labels = (self._read(*file) for file in self.files[self.split])
        # On disk, an image is stored channel by channel, and each column by column.
        images = pixels.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        return [
            {'img': np.ascontiguousarray(image), 'gt_label': int(label) - 1}
            for image, label in zip(images, labels, strict=True)
        ]

    def _read(self, name: str, md5: str | None) -> np.ndarray:
        path = Path(self.data_root).expanduser() / _FOLDER / name
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} does not exist (looked in {Path.cwd()}). Unpack {self.url} in '
                f'{self.data_root}, or set data_root to the folder with '
                f'{_FOLDER}.'
            )
        if not torchvision.datasets.utils.check_integrity(path, md5):
            raise ValueError(
                f'{path} is not the STL-10 file: its MD5 sum is not {md5}. It may '
                f'be truncated; unpack {self.url} again.'
            )
        return np.fromfile(path, dtype=np.uint8)
