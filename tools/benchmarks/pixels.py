"""Memory and time of distillation losses on logit maps, at the size of the labels.

Student and teacher output maps at stride 8. Forward and backward: both maps are resized
to the size of the label map, ignored pixels are dropped, a loss is computed on the
rest, and the student's map gets its gradient. Each row shows a loss computed in strips
of the maps, as the distiller does. It is compared with the same loss on all pixels at
once ("whole"), and with the per-pixel KD of CIRKD in plain PyTorch, which includes
ignored pixels.

Peak memory is that of tensors on top of the maps at stride 8. Ratios of the peaks, and
of the times round by round (median and quartiles), favour the strips if below 1; see
measure.py for the method.
"""

from __future__ import annotations

from functools import partial
from statistics import median

import torch
from measure import machine, parse_args, peak_memory, ratio_cells, times
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor
from torch.nn.functional import interpolate, kl_div

from mmkd_logit.entry_point import run_tool
from mmkd_logit.models import BinaryKLLoss, BinaryKLNormLoss, KDLoss, LogitLoss
from mmkd_logit.tasks.pixel_rows import PixelRows, PixelStrips

# Images, classes, height and width: crops of Cityscapes and of ADE20K.
SIZES = [(2, 19, 512, 1024), (4, 150, 512, 512)]
QUICK_SIZES = [(2, 19, 64, 128), (2, 150, 64, 64)]
STRIDE = 8
IGNORED = 0.1
ROUNDS, QUICK_ROUNDS = 5, 3
MEMORY_TARGET, TIME_TARGET = 1 / 8, 1.0


def ours(
    loss: LogitLoss, student: Tensor, teacher: Tensor, labels: Tensor, whole: bool
) -> None:
    """Make the rows, and compute the loss and its gradient."""
    height, width = labels.shape[1:]
    pixels = PixelRows(labels, (height, width), ignore_index=255, align_corners=False)
    rows = PixelStrips(pixels, student, teacher, None, None, False)
    torch.autograd.grad(loss(rows.whole if whole else rows), student)


def cirkd(student: Tensor, teacher: Tensor, labels: Tensor, tau: float = 1.0) -> None:
    """Compute per-pixel KD in the form of CIRKD, https://arxiv.org/abs/2204.06986."""
    s, t = (
        interpolate(maps, labels.shape[-2:], mode='bilinear', align_corners=False)
        .permute(0, 2, 3, 1)
        .reshape(-1, maps.shape[1])
        for maps in (student, teacher)
    )
    log_q, p = (s / tau).log_softmax(1), (t / tau).softmax(1)
    loss = tau**2 * kl_div(log_q, p, reduction='batchmean')
    torch.autograd.grad(loss, student)


def main() -> None:
    args = parse_args(__doc__)
    torch.manual_seed(0)
    table = Table(
        Column('images x classes x pixels', no_wrap=True),
        Column('loss', no_wrap=True),
        *('peak MiB', 'whole', 'ratio', 'target'),
        *('seconds', 'time / whole', 'quartiles', 'target'),
        *('peak / CIRKD', 'time / CIRKD'),
        title=f'Losses in strips; {machine(args.device)}',
    )
    for size in QUICK_SIZES if args.quick else SIZES:
        images, classes, height, width = size
        shape = (images, classes, height // STRIDE, width // STRIDE)
        student = torch.randn(shape, device=args.device, requires_grad=True)
        teacher = torch.randn(shape, device=args.device)
        labels = torch.randint(classes, (images, height, width))
        labels[torch.rand(labels.shape) < IGNORED] = 255
        labels = labels.to(args.device)
        maps = student, teacher, labels
        for loss in (KDLoss(tau=1.0), BinaryKLLoss(), BinaryKLNormLoss()):
            work = [
                partial(ours, loss, *maps, whole=False),
                partial(ours, loss, *maps, whole=True),
                partial(cirkd, *maps),
            ]
            strips, whole, other = (peak_memory(each, args.device) for each in work)
            rounds = times(work, QUICK_ROUNDS if args.quick else ROUNDS, args.device)
            style = 'bold red' if strips > MEMORY_TARGET * whole else 'bold'
            table.add_row(
                ' x '.join(map(str, size)),
                *(type(loss).__name__, f'{strips:,.1f}', f'{whole:,.1f}'),
                *(f'[{style}]{strips / whole:.3f}[/]', f'<= {MEMORY_TARGET}'),
                f'{median(seconds[0] for seconds in rounds):.3f}',
                *ratio_cells([a / b for a, b, _ in rounds], most=TIME_TARGET),
                f'{strips / other:.3f}',
                f'{median(a / c for a, _, c in rounds):.3f}',
            )
    Console(width=180).print(table)


if __name__ == '__main__':
    run_tool(main)
