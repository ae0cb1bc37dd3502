"""The losses of this package against their textbook form: time and memory.

One forward and backward pass in float32 is measured, with a gradient for the student
only. The textbook form is the formula written with PyTorch's own operators, as in the
papers' code; the forms in released_forms.py follow that code step by step. A row gives
the ratio textbook / ours of the times, round by round (median and quartiles), and the
peak memory of each on top of the two inputs, including the student's gradient; see
measure.py for the method.

The script fails if the two forms differ in value or gradient by more than a
ten-thousandth, with the textbook form in float64. Where that form needs a matrix of all
rows by all rows, which takes terabytes for pixels, ours runs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import released_forms as released
import torch
import torch.nn.functional as F
from across_rows import ACROSS_ROWS, all_by_all
from measure import machine, parse_args, peak_memory, ratio_cells, times
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmkd_logit.entry_point import run_tool
from mmkd_logit.functional import (
    binary_kl_loss,
    binary_kl_norm_loss,
    dkd_loss,
    gkl_loss,
    kd_loss,
    nkd_loss,
    normkd_loss,
    rld_loss,
    ttm_loss,
    wsld_loss,
    wttm_loss,
)

TAU = 2.0
TOLERANCE = 1e-4
# Rows, classes and number of rounds: a batch of ImageNet, pixels of Cityscapes.
IMAGES, PIXELS = (256, 1000), (1_048_576, 19)
SHAPES = {IMAGES: 200, PIXELS: 15}
QUICK_SHAPES = {(32, 100): 3, (4096, 19): 3}
# Least speedup over the textbook form.
TARGETS = {
    ('BinaryKL-Norm', IMAGES): 3.0,
    ('BinaryKL-Norm', PIXELS): 1.5,
    ('GKL', IMAGES): 20.0,
}
# For tensors of rows x classes x classes: rounds, and maximum elements in the check.
DENSE = {'GKL': 5}
CHECKED = 2**25

Loss = Callable[[Tensor, Tensor], Tensor]


def textbook_kd(student: Tensor, teacher: Tensor) -> Tensor:
    log_q = F.log_softmax(student / TAU, dim=1)
    p = F.softmax(teacher / TAU, dim=1)
    return F.kl_div(log_q, p, reduction='batchmean') * TAU**2


def textbook_binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    q = torch.sigmoid(student / TAU).clamp(1e-7, 1 - 1e-7)
    p = torch.sigmoid(teacher / TAU).clamp(1e-7, 1 - 1e-7)
    kl = nn.KLDivLoss(reduction='none')
    each = kl(torch.log(q), p) + kl(torch.log(1 - q), 1 - p)
    return each.sum(1).mean() * TAU**2


def textbook_binary_kl_norm(student: Tensor, teacher: Tensor) -> Tensor:
    difference = (student - teacher) / TAU
    q = torch.sigmoid(difference).clamp(1e-7, 1 - 1e-7)
    p = torch.sigmoid(torch.zeros_like(difference)).clamp(1e-7, 1 - 1e-7)
    kl = nn.KLDivLoss(reduction='none')
    each = kl(torch.log(q), p) + kl(torch.log(1 - q), 1 - p)
    return each.sum(1).mean() * TAU**2


def same(
    theirs: Callable[..., Tensor], ours: Callable[..., Tensor], **settings: Any
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Give two forms the same settings."""
    return partial(theirs, **settings), partial(ours, **settings)


LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    'BinaryKL-Norm': (textbook_binary_kl_norm, partial(binary_kl_norm_loss, tau=TAU)),
    'BinaryKL': (textbook_binary_kl, partial(binary_kl_loss, tau=TAU)),
    'KD': (textbook_kd, partial(kd_loss, tau=TAU)),
    'TTM': same(released.ttm, ttm_loss, gamma=0.1),
    'WTTM': same(released.wttm, wttm_loss, gamma=0.1),
    'GKL': same(released.gkl, gkl_loss, alpha=1.0, beta=1.0, tau=1.0),
    'NormKD': same(released.normkd, normkd_loss, tau=2.0),
}
# With the default temperatures for both ImageNet and CIFAR-100, if they differ.
WITH_LABELS = {
    'DKD': same(released.dkd, dkd_loss, alpha=1.0, beta=8.0, tau=4.0),
    'NKD, tau 1': same(released.nkd, nkd_loss, gamma=1.5, tau=1.0),
    'NKD, tau 3': same(released.nkd, nkd_loss, gamma=1.5, tau=3.0),
    'RLD, tau 1': same(
        *(released.rld, rld_loss), alpha=1.0, beta=0.5, tau=1.0, alpha_tau=1.0
    ),
    'RLD, tau 4': same(
        *(released.rld, rld_loss), alpha=1.0, beta=8.0, tau=4.0, alpha_tau=1.0
    ),
    'WSLD': same(released.wsld, wsld_loss, tau=2.0),
}


def make_logits(shape: tuple[int, int], device: str) -> tuple[Tensor, Tensor]:
    """Return logits of a student, which require a gradient, and of a teacher."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(shape, generator=generator) for _ in range(2))
    return student.to(device).requires_grad_(), teacher.to(device)


def step(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    """Run forward and backward; the gradient is left in ``student.grad``."""
    student.grad = None
    value = loss(student, teacher)
    value.backward()
    return value.detach()


def check_same(
    name: str, pair: Sequence[Loss], student: Tensor, teacher: Tensor
) -> None:
    """Stop if the two forms do not agree in value and gradient."""
    results = []
    # In float32, some textbook forms of a million rows are themselves that inaccurate.
    narrow = student.detach().requires_grad_(), teacher
    wide = student.detach().double().requires_grad_(), teacher.double()
    for loss, inputs in zip(pair, (wide, narrow)):
        value = step(loss, *inputs)
        assert inputs[0].grad is not None
        results.append((value, inputs[0].grad))
    for what, x, y in zip(('value', 'gradient'), *results):
        error = float((x - y).norm() / x.norm())
        if not error <= TOLERANCE:
            raise ValueError(
                f'{name} at {tuple(student.shape)}: the {what} is off the textbook '
                f'form by {error:.1e} of its size, more than {TOLERANCE:.0e}.'
            )


def main() -> None:
    args = parse_args(__doc__)
    table = Table(
        *('loss', 'rows x classes', 'time, textbook / ours', 'quartiles', 'target'),
        *('peak MiB, textbook', 'ours'),
        title=f'Losses, forward and backward; {machine(args.device)}',
    )
    for shape, rounds in (QUICK_SHAPES if args.quick else SHAPES).items():
        student, teacher = make_logits(shape, args.device)
        target = torch.randint(shape[1], shape[:1], device=args.device)
        labelled = {
            name: same(*pair, target=target) for name, pair in WITH_LABELS.items()
        }
        for name, pair in (LOSSES | labelled | ACROSS_ROWS).items():
            if all_by_all(name, shape):
                ours = peak_memory(
                    partial(step, pair[1], student, teacher), args.device
                )
                size = f'{shape[0]:,} x {shape[1]:,}'
                table.add_row(name, size, 'N x N', '', '', '', f'{ours:,.1f}')
                student.grad = None
                continue
            some = CHECKED // shape[1] ** 2 if name in DENSE else None
            check_same(name, pair, student[:some], teacher[:some])
            work = [partial(step, loss, student, teacher) for loss in pair]
            turns = min(rounds, DENSE.get(name, rounds))
            ratios = [a / b for a, b in times(work, turns, args.device)]
            memory = []
            for each in work:
                student.grad = None
                memory.append(peak_memory(each, args.device))
            table.add_row(
                *(name, f'{shape[0]:,} x {shape[1]:,}'),
                *ratio_cells(ratios, least=TARGETS.get((name, shape))),
                *(f'{size:,.1f}' for size in memory),
            )
    Console(width=100).print(table)


if __name__ == '__main__':
    run_tool(main)
