"""Makes a folder that looks like Tiny-ImageNet: 200 classes, one image each.

python tests/make_tiny_imagenet_folder.py data/tiny-imagenet-200
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = [f'n{10_000_000 + 7 * label:08d}' for label in range(200)]


def make_tiny_imagenet_folder(root: Path) -> None:
    """Write ``root`` as the archive unpacks, with one image per class and split.

    Training image of class ``i`` is red, of value ``i``; validation images are in the
    order of the last class first.

    Args:
        root (Path): The folder, made if it is missing.
    """
    (root / 'val' / 'images').mkdir(parents=True)
    # Not sorted, as in the archive.
    (root / 'wnids.txt').write_text(''.join(f'{name}\n' for name in CLASSES[::-1]))
    lines = []
    for label, name in enumerate(CLASSES):
        image = np.zeros((64, 64, 3), dtype=np.uint8)
        image[..., 0] = label
        picture = Image.fromarray(image)
        folder = root / 'train' / name / 'images'
        folder.mkdir(parents=True)
        (folder.parent / f'{name}_boxes.txt').write_text(f'{name}_0.JPEG\t0\t0\t9\t9\n')
        picture.save(folder / f'{name}_0.JPEG')
        number = f'val_{len(CLASSES) - 1 - label}.JPEG'
        picture.save(root / 'val' / 'images' / number)
        lines.append(f'{number}\t{name}\t0\t0\t9\t9\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(lines[::-1]))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='where the folder goes')
    make_tiny_imagenet_folder(parser.parse_args().root)
