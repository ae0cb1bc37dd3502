"""Store the teacher's logits once, for all later runs of its config.

    tools/cache_teacher.py CONFIG --views V OUT
    tools/train.py CONFIG --cfg-options model.teacher.cache=OUT

If interrupted, the same command continues where it stopped.
"""

import argparse
import signal
import sys
from pathlib import Path

import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import init_dist
from rich.console import Console

from mmkd_logit.apis import (
    StoreSettings,
    add_common_arguments,
    check_data,
    read_config,
    store_logits,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cfg = read_config(args)
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
    store_logits(cfg, settings, Console(width=None if sys.stdout.isatty() else 120))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == '__main__':
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues from here.')
