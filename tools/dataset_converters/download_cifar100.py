"""Download CIFAR-100 once, before several jobs do so at the same time."""

import argparse
from pathlib import Path

from mmpretrain.datasets import CIFAR100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='folder for cifar-100-python')
    root = parser.parse_args().root
    try:
        CIFAR100(str(root), 'test')
    except OSError as error:
        raise SystemExit(
            f'{CIFAR100.url} cannot be downloaded: {error}. Unpack it in {root} by '
            f'hand, so that {root / CIFAR100.base_folder} exists, or set data_root of '
            'the datasets to the folder where you have it.'
        ) from error


if __name__ == '__main__':
    main()
