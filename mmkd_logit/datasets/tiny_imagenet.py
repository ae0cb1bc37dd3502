"""Reader of Tiny-ImageNet, as unpacked from its archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from mmkd_logit.registry import DATASETS

_SPLITS = ('train', 'val')


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny-ImageNet: 200 of ImageNet's classes, 64x64 pixels, RGB.

    100,000 are for training and 10,000 for validation, on which papers report. The
    labels of the validation images are in ``val/val_annotations.txt``; classes are
    those of ``wnids.txt``, sorted.

    Source: http://cs231n.stanford.edu/tiny-imagenet-200.zip

    Args:
        data_root (str): The folder ``tiny-imagenet-200`` of the archive.
        split (str): 'train' or 'val'. Defaults to 'train'.
        kwargs: Other settings of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        ValueError: If ``split`` is unknown, or an image is of an unknown class.
    """

    url = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        if split not in _SPLITS:
            raise ValueError(
                f'split must be one of {list(_SPLITS)}, but got {split!r}.'
            )
        self.split = split
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the paths of the images with their labels."""
        classes = tuple(sorted(self._find('wnids.txt').read_text().split()))
        self._metainfo.setdefault('classes', classes)
        labels = {name: label for label, name in enumerate(classes)}
        images = self._train(classes) if self.split == 'train' else self._val()
        found = []
        for path, name in images:
            if name not in labels:
                raise ValueError(f'{path} is of {name}, which wnids.txt does not list.')
            found.append({'img_path': str(path), 'gt_label': labels[name]})
        return found

    def _train(self, classes: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
        for name in classes:
            for path in sorted(self._find(f'train/{name}/images').glob('*.JPEG')):
                yield path, name

    def _val(self) -> Iterator[tuple[Path, str]]:
        folder = self._find('val/images')
        for line in self._find('val/val_annotations.txt').read_text().splitlines():
            image, name, *_ = line.split('\t')
            yield folder / image, name

    def _find(self, name: str) -> Path:
        path = Path(self.data_root).expanduser() / name
        if not path.exists():
            raise FileNotFoundError(
                f'{path} does not exist (looked in {Path.cwd()}). Unpack {self.url}, '
                'and set data_root to the unpacked folder tiny-imagenet-200.'
            )
        return path
