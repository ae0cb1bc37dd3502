"""Kendall's tau loss against its dense form, and how it grows with the classes.

The dense form is the paper's formula written with PyTorch's own operators, on tensors
of rows x classes x classes. One forward and backward pass in float32 is measured, with
a gradient for the student only. Logits are drawn at random (standard deviation 3): the
student's are independent of the teacher's ("apart"), or the teacher's plus noise with a
standard deviation of 1 ("near") or 0.01 ("almost like"), as late in training. A row
gives the ratio dense / ours of the times, round by round (median and quartiles), and
the peak memory of ours over that of the dense form, both on top of the two inputs; see
measure.py for the method.

A second table gives ours alone for more and more classes, with logits apart: the time
per row, and the power of the number of classes with which it grows. A third gives the
ratio of a step of KD with Kendall's tau to a step of KD, as in step.py.

The script fails if the two forms differ in value or gradient by more than a
ten-thousandth.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from statistics import median

import torch
from losses import check_same, step
from measure import Work, machine, parse_args, peak_memory, ratio_cells, times
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from step import CONFIGS, build, make_batch
from torch import Tensor

from mmkd_logit.entry_point import run_tool
from mmkd_logit.functional import kendall_tau_loss

# Rows, classes and k, for a batch of ImageNet and pixels of Cityscapes: rounds, the
# least speedup, and the largest share of the memory.
IMAGES, PIXELS = (64, 1000), (131_072, 19)
CASES = {
    (*IMAGES, 100.0): (7, 20.0, 0.05),
    (*IMAGES, 5.0): (7, 8.0, 0.05),
    (*PIXELS, 100.0): (5, 2.0, 0.25),
}
QUICK_CASES = {
    (4, 100, 100.0): (3, None, None),
    (4, 100, 5.0): (3, None, None),
    (512, 19, 100.0): (3, None, None),
}
NOISE = {'apart': None, 'near': 1.0, 'almost like': 0.01}
GROWTH_ROWS, GROWTH_ROUNDS, GROWTH_MIB = 16, 3, 1024.0
GROWTH, QUICK_GROWTH = (1000, 4000, 21_841), (100, 200)
# A pair of step.py: batch size on each device, size of the images, and rounds.
PAIR = 'res34_res18_in1k'
STEP = ({'cpu': 8, 'cuda': 128}, (224, 224), 15)
QUICK_STEP = ({'cpu': 2, 'cuda': 2}, (64, 64), 3)
STEP_TARGET = 1.05


def dense(student: Tensor, teacher: Tensor, k: float) -> Tensor:
    classes = student.shape[1]
    s = torch.tanh(k * (student.unsqueeze(2) - student.unsqueeze(1)))
    t = torch.tanh(k * (teacher.unsqueeze(2) - teacher.unsqueeze(1)))
    return (1 - (s * t).sum((1, 2)) / (classes * (classes - 1))).mean()


def make_logits(
    rows: int, classes: int, noise: float | None, device: str
) -> tuple[Tensor, Tensor]:
    """Return logits of a student, which require a gradient, and of a teacher."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = (
        3 * torch.randn(rows, classes, generator=generator) for _ in range(2)
    )
    if noise is not None:
        student = teacher + noise / 3 * student
    return student.to(device).requires_grad_(), teacher.to(device)


def peak(work: Work, student: Tensor, device: str) -> float:
    student.grad = None
    return peak_memory(work, device)


def compare(quick: bool, device: str) -> Table:
    """Compare the dense form with ours."""
    table = Table(
        *('rows x classes', 'k', "student's logits", 'time, dense / ours'),
        *('quartiles', 'target', 'peak MiB, dense', 'ours', 'ours / dense', 'target'),
        title=f"Kendall's tau loss, forward and backward; {machine(device)}",
    )
    for (rows, classes, k), case in (QUICK_CASES if quick else CASES).items():
        rounds, faster, leaner = case
        pair = (partial(dense, k=k), partial(kendall_tau_loss, k=k))
        for name, noise in NOISE.items():
            student, teacher = make_logits(rows, classes, noise, device)
            check_same(f"Kendall's tau, k={k:g}", pair, student, teacher)
            work = [partial(step, loss, student, teacher) for loss in pair]
            ratios = [a / b for a, b in times(work, rounds, device)]
            memory = [peak(each, student, device) for each in work]
            part = memory[1] / memory[0]
            missed = leaner is not None and part > leaner
            table.add_row(
                *(f'{rows:,} x {classes:,}', f'{k:g}', name),
                *ratio_cells(ratios, least=faster),
                *(f'{size:,.1f}' for size in memory),
                f'[{"bold red" if missed else "bold"}]{part:.1%}[/]',
                '' if leaner is None else f'<= {leaner:.0%}',
            )
    return table


def growth(classes: Sequence[int], device: str) -> Table:
    """Measure ours alone, for more and more classes."""
    table = Table(
        *('rows x classes', 'k', 'ms per row', 'grows with', 'peak MiB', 'target'),
        title=f'More classes, forward and backward; {machine(device)}',
    )
    for k in (100.0, 5.0):
        before: tuple[int, float] | None = None
        for count in classes:
            student, teacher = make_logits(GROWTH_ROWS, count, None, device)
            loss = partial(kendall_tau_loss, k=k)
            work = partial(step, loss, student, teacher)
            seconds = median(t for (t,) in times([work], GROWTH_ROUNDS, device))
            power = ''
            if before is not None:
                exponent = math.log(seconds / before[1], count / before[0])
                power = f'classes^{exponent:.2f}'
            before = count, seconds
            size = peak(work, student, device)
            style = 'bold red' if size > GROWTH_MIB else 'bold'
            table.add_row(
                *(f'{GROWTH_ROWS} x {count:,}', f'{k:g}'),
                *(f'{1e3 * seconds / GROWTH_ROWS:.2f}', power),
                *(f'[{style}]{size:,.1f}[/]', f'<= {GROWTH_MIB:,.0f}'),
            )
    return table


def compare_steps(quick: bool, device: str) -> Table:
    """Compare a step of KD with Kendall's tau with one of KD."""
    batches, size, rounds = QUICK_STEP if quick else STEP
    work = []
    for name in (f'kd_kendall-tau/{PAIR}', f'kd/{PAIR}'):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        init_default_scope(cfg.default_scope)
        cfg.model.teacher.checkpoint = None
        # Random data cannot be learned: at the recipe's rate, training would diverge.
        cfg.optim_wrapper.optimizer.lr = 1e-3
        model, optim_wrapper = build(cfg.model, cfg, device)
        batch = make_batch(cfg, batches[device], size)
        work.append(partial(model.train_step, batch, optim_wrapper))
    ratios = [a / b for a, b in times(work, rounds, device)]
    table = Table(
        *('config', 'batch', "time, KD with Kendall's tau / KD", 'quartiles', 'target'),
        title=f'Distillation step; {machine(device)}',
    )
    table.add_row(
        *(f'kd_kendall-tau/{PAIR}', f'{batches[device]}, {size[0]} x {size[1]}'),
        *ratio_cells(ratios, most=STEP_TARGET),
    )
    return table


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    console = Console(width=140)
    console.print(compare(args.quick, args.device))
    console.print(growth(QUICK_GROWTH if args.quick else GROWTH, args.device))
    console.print(compare_steps(args.quick, args.device))


if __name__ == '__main__':
    run_tool(main)
