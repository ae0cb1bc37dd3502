"""A distillation step with a teacher of timm against one of mmpretrain.

Both teachers are a ResNet-34 on ImageNet images, and teach the same ResNet-18 by KD.
The steps run in turn in one process on one batch. A row gives the ratio step with timm
/ step with mmpretrain of the times, round by round (median and quartiles): its excess
over 1 is the cost of a teacher from another library. The weights are random, which does
not affect the times. See measure.py for the method.
"""

from __future__ import annotations

import warnings
from functools import partial

from measure import machine, parse_args, ratio_cells, times
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Column, Table
from step import CONFIGS, build, make_batch

from mmkd_logit.entry_point import run_tool

CONFIG = 'kd/res34_res18_in1k'
TARGET = 1.02


def compare(
    batch_size: int, size: tuple[int, int], rounds: int, device: str
) -> list[float]:
    """Return the ratios of the times."""
    cfg = Config.fromfile(CONFIGS / f'{CONFIG}.py')
    init_default_scope(cfg.default_scope)
    cfg.optim_wrapper.optimizer.lr = 1e-3
    batch = make_batch(cfg, batch_size, size)
    work = []
    for teacher in (dict(timm='resnet34'), dict(config=cfg.model.teacher.config)):
        model = {**cfg.model, 'teacher': {**teacher, 'checkpoint': None}}
        distiller, optim_wrapper = build(model, cfg, device)
        work.append(partial(distiller.train_step, batch, optim_wrapper))
    return [ours / theirs for ours, theirs in times(work, rounds, device)]


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    batch, size, rounds = {'cpu': 8, 'cuda': 128}[args.device], (224, 224), 15
    if args.quick:
        batch, size, rounds = 2, (64, 64), 3
    table = Table(
        Column('config', no_wrap=True),
        *('batch', 'time, teacher of timm / of mmpretrain', 'quartiles', 'target'),
        title=f'Distillation step; {machine(args.device)}',
    )
    table.add_row(
        *(CONFIG, f'{batch}, {size[0]} x {size[1]}'),
        *ratio_cells(compare(batch, size, rounds, args.device), most=TARGET),
    )
    Console(width=120).print(table)


if __name__ == '__main__':
    run_tool(main)
