"""Cost of MCLD in a distillation step on ImageNet, with a full queue.

Two things run in turn in one process: a training step of KD from ResNet-34 to
ResNet-18, and MCLD's loss on logits of the same batch: forward, backward and the update
of the queue. A row gives the ratio loss / step of the times, round by round (median and
quartiles), and the peak memory of the loss on top of the queue and the logits, beside
the size of the queue and of one matrix of all similarities (rows x entries) in float32;
see measure.py for the method.
"""

from __future__ import annotations

import warnings
from functools import partial

import torch
from measure import machine, parse_args, peak_memory, ratio_cells, times
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from step import CONFIGS, build, make_batch

from mmkd_logit.entry_point import run_tool
from mmkd_logit.models import MCLDLoss
from mmkd_logit.structures import LogitRows

CLASSES = 1000
# Batch size, height and width of images, entries of the queue, and number of rounds.
SETTING, QUICK_SETTING = (256, (224, 224), 65_536, 3), (4, (32, 32), 100, 3)
TARGET = 0.10


def compute(loss: MCLDLoss, rows: LogitRows) -> None:
    """Run forward, backward and the update of the queue."""
    rows.student.grad = None
    loss(rows).backward()


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    batch_size, size, entries, rounds = QUICK_SETTING if args.quick else SETTING
    cfg = Config.fromfile(CONFIGS / 'kd' / 'res34_res18_in1k.py')
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.checkpoint = None
    cfg.optim_wrapper.optimizer.lr = 1e-3
    distiller, optim_wrapper = build(cfg.model, cfg, args.device)
    step = partial(
        distiller.train_step, make_batch(cfg, batch_size, size), optim_wrapper
    )

    torch.manual_seed(0)
    rows = LogitRows(
        student=torch.randn(batch_size, CLASSES, device=args.device).requires_grad_(),
        teacher=torch.randn(batch_size, CLASSES, device=args.device),
        labels=torch.randint(CLASSES, (batch_size,), device=args.device),
        image_index=torch.arange(batch_size, device=args.device),
    )
    table = Table(
        *('queue', 'time, loss / KD step', 'quartiles', 'target'),
        *('peak MiB of the loss', 'queue', 'rows x entries'),
        title=f'MCLD, {batch_size} x {CLASSES}; {machine(args.device)}',
    )
    for dtype in ('float32', 'float16'):
        loss = MCLDLoss(queue_size=entries, queue_dtype=dtype, num_classes=CLASSES)
        loss.to(args.device)
        assert loss.queue is not None
        images = torch.arange(entries, device=args.device)
        filling = torch.randn(entries, CLASSES, device=args.device)
        loss.queue.push(filling, images, images % CLASSES)
        work = partial(compute, loss, rows)
        ratios = [b / a for a, b in times([step, work], rounds, args.device)]
        rows.student.grad = None
        table.add_row(
            f'{entries:,} of {dtype}',
            *ratio_cells(ratios, most=TARGET),
            f'{peak_memory(work, args.device):,.1f}',
            f'{loss.queue.logits.nbytes / 2**20:,.1f}',
            f'{4 * batch_size * entries / 2**20:,.1f}',
        )
    Console(width=120).print(table)


if __name__ == '__main__':
    run_tool(main)
