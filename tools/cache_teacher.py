"""Store the teacher's logits once, for all later runs of its config.

    tools/cache_teacher.py CONFIG --views V OUT
    tools/train.py CONFIG --cfg-options model.teacher.cache=OUT

If interrupted, the same command continues where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmkd_logit.arguments import Parser, add_common_arguments
from mmkd_logit.entry_point import resumable, run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add_common_arguments(parser)
    parser.add_argument('out', type=Path, help='folder to create')
    parser.add_argument(
        '--views',
        type=int,
        required=True,
        metavar='V',
        help='number of views per image; training epoch e shows view e mod V',
    )
    parser.add_argument(
        '--dtype',
        choices=['float32', 'float16'],
        default='float32',
        help='type of the logits; defaults to float32',
    )
    parser.add_argument(
        '--view-seed', type=int, default=0, help='seed of the views; defaults to 0'
    )
    parser.add_argument(
        '--top-k',
        type=int,
        metavar='K',
        help='keep the K largest logits of each image and the mass of the others, for '
        'losses such as KDLoss; defaults to all',
    )
    parser.add_argument(
        '--tau',
        type=float,
        default=4.0,
        help='temperature of that mass, equal to that of the loss; defaults to 4',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help="the teacher's batch size; defaults to that of training",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch.distributed as dist
    from mmengine.device import get_device
    from mmengine.dist import init_dist
    from rich.console import Console

    from mmkd_logit.apis import StoreSettings, check_data, read_config, store_logits

    cfg = read_config(args)
    if args.print_config:
        print(cfg.pretty_text)
        return
    if args.launcher == 'pytorch' and get_device() == 'cpu':
        dist.init_process_group('gloo')  # mmengine assumes a GPU
    elif args.launcher != 'none':
        init_dist(args.launcher)
    check_data(cfg, ('train_dataloader', 'val_dataloader'))
    settings = StoreSettings(
        args.out,
        args.views,
        args.dtype,
        args.view_seed,
        args.top_k,
        args.tau,
        args.batch_size,
    )
    # Lines that go to a file must not be wrapped at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 120)
    with resumable(lambda: 'Stopped. The same command continues from here.'):
        store_logits(cfg, settings, console)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == '__main__':
    run_tool(main)
