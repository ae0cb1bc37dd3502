"""Makes a folder that looks like CIFAR-100, with a few images in its own format.

python tests/make_cifar100_folder.py data/cifar100
"""

import argparse
import pickle
from pathlib import Path

import numpy as np
from mmpretrain.datasets import CIFAR100
from mmpretrain.datasets.categories import CIFAR100_CATEGORIES

COARSE_CLASSES = 20


class SmallCIFAR100(CIFAR100):
    """mmpretrain's dataset without the check sums, which are of the real files."""

    train_list = [['train', None]]
    test_list = [['test', None]]


def make_cifar100_folder(root: Path, train: int = 80, test: int = 100) -> None:
    """Write the three files of ``root/cifar-100-python``.

    Image ``i`` is of class ``i % 100``.

    Args:
        root (Path): The folder, made if it is missing.
        train (int): Number of training images. Defaults to 80: a full batch and one
            of 16, as the last one of the real dataset.
        test (int): Number of test images. Defaults to 100.
    """
    folder = root / 'cifar-100-python'
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, size in (('train', train), ('test', test)):
        labels = [index % len(CIFAR100_CATEGORIES) for index in range(size)]
        content = {
            'filenames': [f'{split}_{index:06d}.png' for index in range(size)],
            'batch_label': f'{split} batch 1 of 1',
            'fine_labels': labels,
            'coarse_labels': [label % COARSE_CLASSES for label in labels],
            # One row per image: all of red, then green, then blue.
            'data': rng.integers(256, size=(size, 3 * 32 * 32), dtype=np.uint8),
        }
        _write(folder / split, content)
    names = {
        'fine_label_names': list(CIFAR100_CATEGORIES),
        'coarse_label_names': [f'coarse {index}' for index in range(COARSE_CLASSES)],
    }
    _write(folder / 'meta', names)


def _write(path: Path, content: dict) -> None:
    with path.open('wb') as file:
        pickle.dump(content, file, protocol=2)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='where the folder goes')
    make_cifar100_folder(parser.parse_args().root)
