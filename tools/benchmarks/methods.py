"""A training step of each method against that of KD, from ResNet-34 to ResNet-18.

The steps of all methods run in turn in one process, on one batch of images as a
dataloader returns it. A row gives the ratio step / KD step of the times, round by round
(median and quartiles); see measure.py for the method. The weights are random, which
does not affect the times.
"""

from __future__ import annotations

import warnings
from functools import partial

from measure import machine, parse_args, ratio_cells, times
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Column, Table
from step import CONFIGS, build, make_batch, read

from mmkd_logit.entry_point import run_tool

PAIR = 'tv-res34_res18_in1k'
TARGET = 1.05
ROUNDS, QUICK_ROUNDS = 7, 3


def compare(
    methods: list[str], batch_size: int, size: tuple[int, int], rounds: int, device: str
) -> list[list[float]]:
    """Time a step of each method in seconds, round by round."""
    work = []
    for method in methods:
        cfg = read(f'{method}/{PAIR}', size)
        model, optim_wrapper = build(cfg.model, cfg, device)
        batch = make_batch(cfg, batch_size, size)
        work.append(partial(model.train_step, batch, optim_wrapper))
    return times(work, rounds, device)


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    found = sorted(path.parent.name for path in CONFIGS.glob(f'*/{PAIR}.py'))
    methods = ['kd', *(method for method in found if method != 'kd')]
    batch, size, rounds = {'cpu': 8, 'cuda': 128}[args.device], (224, 224), ROUNDS
    if args.quick:
        methods, batch, size, rounds = methods[:3], 2, (64, 64), QUICK_ROUNDS
    seconds = compare(methods, batch, size, rounds, args.device)
    table = Table(
        Column('config', no_wrap=True),
        *('time, step / KD step', 'quartiles', 'target'),
        title=f'Steps of the methods, {batch} images of {size[0]} x {size[1]}; '
        f'{machine(args.device)}',
    )
    for place, method in enumerate(methods[1:], start=1):
        ratios = [turn[place] / turn[0] for turn in seconds]
        table.add_row(f'{method}/{PAIR}', *ratio_cells(ratios, most=TARGET))
    Console(width=100).print(table)


if __name__ == '__main__':
    run_tool(main)
