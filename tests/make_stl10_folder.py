"""Makes a folder that looks like STL-10, with a few images in its own format.

python tests/make_stl10_folder.py data/stl10
"""

import argparse
from pathlib import Path

import numpy as np

from mmkd_logit.datasets import STL10


class SmallSTL10(STL10):
    """The dataset without the check sums, which are of the real files."""

    files = {
        split: [[name, None] for name, _ in files]
        for split, files in STL10.files.items()
    }


def make_stl10_folder(root: Path, train: int = 80, test: int = 20) -> None:
    """Write the files of ``root/stl10_binary`` that hold labelled images.

    Image ``i`` is of class ``i % 10``, which the files count from 1. Its pixel in row
    ``y`` and column ``x`` has 2y in the red channel and 2x in the green one.

    Args:
        root (Path): The folder, made if it is missing.
        train (int): Number of training images. Defaults to 80.
        test (int): Number of test images. Defaults to 20.
    """
    folder = root / 'stl10_binary'
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:96, :96] * 2
    for split, size in (('train', train), ('test', test)):
        images = rng.integers(256, size=(size, 3, 96, 96), dtype=np.uint8)
        images[:, 0], images[:, 1] = row, column
        # Column by column.
        images.transpose(0, 1, 3, 2).tofile(folder / f'{split}_X.bin')
        labels = np.arange(size) % 10 + 1
        labels.astype(np.uint8).tofile(folder / f'{split}_y.bin')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='where the folder goes')
    make_stl10_folder(parser.parse_args().root)
