"""Download CIFAR-100 once, before several jobs do so at the same time."""

import argparse
from http.client import HTTPException
from pathlib import Path

from mmpretrain.datasets import CIFAR100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='folder for cifar-100-python')
    root = parser.parse_args().root
    by_hand = (
        f'Unpack it in {root} by hand, so that {root / CIFAR100.base_folder} is there, '
        'or set data_root of the datasets to where you have it.'
    )
    try:
        CIFAR100(str(root), 'test')
    except (OSError, HTTPException) as error:
        raise SystemExit(
            f'{CIFAR100.url} cannot be downloaded: {error}. {by_hand}'
        ) from error
    except RuntimeError as error:
        # mmpretrain's, where the MD5 sum differs.
        (root / CIFAR100.filename).unlink(missing_ok=True)
        raise SystemExit(
            f'What came from {CIFAR100.url} is not CIFAR-100, by its MD5 sum: it was '
            'cut short, or something else answered. Run this again. If that does not '
            f'help: {by_hand}'
        ) from error


if __name__ == '__main__':
    main()
