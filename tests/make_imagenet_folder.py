"""Makes a folder that looks like ImageNet: 1,000 classes, one tiny JPEG per class.

python tests/make_imagenet_folder.py data/imagenet
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def make_imagenet_folder(root: Path, num_classes: int = 1000) -> None:
    """Write ``root/train`` and ``root/val``, with one image per class in each.

    Args:
        root (Path): The folder, made if it is missing.
        num_classes (int): Number of classes. Defaults to 1000.
    """
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in range(num_classes):
            name = f'n{label:08d}'
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            # Large blocks: noise of single pixels is the same everywhere once resized.
            image = rng.integers(256, size=(6, 8, 3), dtype=np.uint8)
            image = image.repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(image).save(folder / f'{name}_0.JPEG')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='where the folder goes')
    make_imagenet_folder(parser.parse_args().root)
