"""Memory of a distillation loss on maps of logits, at the resolution of the labels.

Student and teacher give maps at stride 8; both are resized to the label map, the
ignored pixels are dropped, and a loss is computed on the rest, forward and backward,
with a gradient for the student's map. A row gives the peak of what tensors hold on top
of the inputs, in MiB and in maps: the size of one map of logits at the resolution of
the labels, in float32. How is said in measure.py.
"""

from __future__ import annotations

import torch
from measure import machine, parse_args, peak_memory
from rich.console import Console
from rich.table import Table

from mmkd_logit.models import BinaryKLLoss, BinaryKLNormLoss, KDLoss, LogitLoss
from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks.pixel_rows import PixelRows

IMAGES, CLASSES, STRIDE = 2, 19, 8
SIZE, QUICK_SIZE = (512, 1024), (64, 128)
IGNORED = 0.1
TARGET = 6.0


def compute(
    loss: LogitLoss, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor
) -> None:
    """Rows, loss and gradient."""
    height, width = labels.shape[-2:]
    pixels = PixelRows(labels, (height, width), ignore_index=255, align_corners=False)
    rows = LogitRows(
        student=pixels.take(student),
        teacher=pixels.take(teacher),
        labels=pixels.labels,
    )
    loss(rows).backward()


def main() -> None:
    args = parse_args(__doc__)
    height, width = QUICK_SIZE if args.quick else SIZE
    shape = (IMAGES, CLASSES, height // STRIDE, width // STRIDE)
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (IMAGES, height, width))
    labels[torch.rand(labels.shape) < IGNORED] = 255
    labels = labels.to(args.device)
    one_map = 4 * IMAGES * CLASSES * height * width / 2**20
    table = Table(
        *('loss', 'peak MiB', 'peak, maps', 'target'),
        title=f'{IMAGES} x {CLASSES} x {height} x {width}; {machine(args.device)}',
    )
    for loss in (KDLoss(), BinaryKLLoss(), BinaryKLNormLoss()):
        student = torch.randn(shape, device=args.device, requires_grad=True)
        teacher = torch.randn(shape, device=args.device)
        peak = peak_memory(
            lambda: compute(loss, student, teacher, labels),  # noqa: B023
            args.device,
        )
        style = 'bold red' if peak > TARGET * one_map else 'bold'
        maps = f'[{style}]{peak / one_map:.2f}[/]'
        table.add_row(type(loss).__name__, f'{peak:,.1f}', maps, f'<= {TARGET}')
    Console(width=100).print(table)


if __name__ == '__main__':
    main()
