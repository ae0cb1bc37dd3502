"""Download CIFAR-100 once, before several jobs do so at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from mmkd_logit.arguments import Parser
from mmkd_logit.entry_point import run_tool


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('root', type=Path, help='folder for cifar-100-python')
    root = parser.parse_args(argv).root
    from mmpretrain.datasets import CIFAR100

    by_hand = (
        f'Unpack it in {root} by hand, so that {root / CIFAR100.base_folder} is there, '
        'or set data_root of the datasets to where you have it.'
    )
    try:
        CIFAR100(str(root), 'test')
    except (OSError, HTTPException) as error:
        raise ValueError(
            f'{CIFAR100.url} cannot be downloaded: {error}. {by_hand}'
        ) from error
    except RuntimeError as error:
        # mmpretrain's, where the MD5 sum differs.
        (root / CIFAR100.filename).unlink(missing_ok=True)
        raise ValueError(
            f'What came from {CIFAR100.url} is not CIFAR-100, by its MD5 sum: it was '
            'cut short, or something else answered. Run this again. If that does not '
            f'help: {by_hand}'
        ) from error


if __name__ == '__main__':
    run_tool(main)
