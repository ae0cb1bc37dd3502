"""Cost of gradient alignment and of the conflict hook, relative to their parts.

Six things run in turn in one process, on one batch as a dataloader returns it. A row
gives three numbers computed from their times, round by round (median and quartiles):

- a step with GradAlignOptimWrapper / (teacher forward + student forward + two student
  backward passes); the step also preprocesses the batch, merges the gradients and
  updates the weights;
- the same for the step as in the authors' code: both gradients kept as deep copies and
  flattened, the graph retained twice;
- what GradientConflictHook at interval 50 adds to plain distillation, in percent of the
  training time: a fiftieth of what it adds to a step that it measures.

The weights are random, which does not affect the times. Peak memory is that of the two
aligned steps, on top of the model; see measure.py for the method.
"""

from __future__ import annotations

import copy
import warnings
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from measure import machine, parse_args, peak_memory, ratio_cells, times
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from rich.console import Console
from rich.table import Column, Table
from step import CONFIGS, build, make_batch
from torch import Tensor

from mmkd_logit.engine import GradAlignOptimWrapper, GradientConflictHook
from mmkd_logit.entry_point import run_tool
from mmkd_logit.models import LogitDistiller

# Batch size on each device, height and width of the images, and number of rounds. The
# digits pair runs at the size of CIFAR images.
PAIRS = {
    'dhkd/res34_res18_in1k': ({'cpu': 8, 'cuda': 128}, (224, 224), 15),
    'dhkd/res20_res8_digits': ({'cpu': 64, 'cuda': 64}, (32, 32), 100),
}
QUICK_PAIRS = {
    'dhkd/res34_res18_in1k': ({'cpu': 2, 'cuda': 2}, (64, 64), 3),
    'dhkd/res20_res8_digits': ({'cpu': 8, 'cuda': 8}, (32, 32), 3),
}
TARGET = 1.1
INTERVAL = 50
HOOK_TARGET = 5.0


class CopyingOptimWrapper(GradAlignOptimWrapper):
    """The authors' code of the step: deep copies, flat vectors, two retained graphs."""

    def update_params(self, loss: Tensor, *args: Any) -> None:
        """Compute both gradients, align the flat copies, and step."""
        assert self._losses is not None
        losses, self._losses = self._losses[:2], None
        params = self._parameters()
        flat = []
        for each in losses:
            self.optimizer.zero_grad()
            assert each is not None
            each.backward(retain_graph=True)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
            flat.append(torch.cat([grad.flatten() for grad in copy.deepcopy(grads)]))
        task, distill = flat
        dot = task.dot(distill)
        if dot < 0:
            distill = distill - dot / task.dot(task) * task
        parts = (task + distill).split([param.numel() for param in params])
        for param, part in zip(params, parts):
            param.grad = part.view_as(param)
        self.optimizer.step()
        self.optimizer.zero_grad()


def student_passes(distiller: LogitDistiller, data: dict[str, Any]) -> None:
    """Run one forward pass of the student and two backward passes."""
    loss = sum(distiller.student.loss(**data).values())
    params = list(distiller.student.parameters())
    torch.autograd.grad(loss, params, retain_graph=True)
    torch.autograd.grad(loss, params)


def measured_step(runner: Runner, hook: GradientConflictHook, batch: dict) -> None:
    """Run a step of plain distillation in an iteration that the hook measures."""
    hook.before_train_iter(runner, 0)
    runner.model.train_step(batch, runner.optim_wrapper)


def compare(
    name: str, batch_size: int, size: tuple[int, int], rounds: int, device: str
) -> tuple[list[list[float]], list[float]]:
    """Return three numbers per round, and the peak MiB of the two aligned steps."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.checkpoint = None
    # Random data cannot be learned: at the recipe's rate, training would diverge.
    cfg.optim_wrapper.optimizer.lr = 1e-3
    distiller, plain = build(cfg.model, cfg, device)
    aligned, copying = (
        build_optim_wrapper(distiller, {**cfg.optim_wrapper, 'type': kind})
        for kind in ('mmkd_logit.GradAlignOptimWrapper', CopyingOptimWrapper)
    )
    batch = make_batch(cfg, batch_size, size)
    data = distiller.data_preprocessor(batch, True)
    # What the hook needs from a Runner, in an iteration that it measures.
    runner = cast(
        Runner,
        SimpleNamespace(
            model=distiller,
            optim_wrapper=plain,
            iter=INTERVAL - 1,
            message_hub=MessageHub.get_current_instance(),
            visualizer=Visualizer(),
            logger=MMLogger.get_current_instance(),
        ),
    )
    hook = GradientConflictHook(INTERVAL)
    hook.before_train(runner)
    work = [
        partial(distiller.train_step, batch, aligned),
        partial(distiller.train_step, batch, copying),
        partial(distiller.teacher, data['inputs']),
        partial(student_passes, distiller, data),
        partial(distiller.train_step, batch, plain),
        partial(measured_step, runner, hook, batch),
    ]
    numbers = [
        [a / (t + s), b / (t + s), 100 * (m / p - 1) / INTERVAL]
        for a, b, t, s, p, m in times(work, rounds, device)
    ]
    return numbers, [peak_memory(step, device) for step in work[:2]]


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    table = Table(
        Column('config', no_wrap=True),
        *('batch', 'time, step / passes', 'quartiles', 'target'),
        *("authors' step", 'hook, %', 'target', 'peak MiB', "authors'"),
        title=f'Gradient alignment; {machine(args.device)}',
    )
    for name, (batches, size, rounds) in (QUICK_PAIRS if args.quick else PAIRS).items():
        batch = batches[args.device]
        numbers, memory = compare(name, batch, size, rounds, args.device)
        ours, authors, hook = zip(*numbers)
        hook_cells = ratio_cells(hook, most=HOOK_TARGET)
        table.add_row(
            *(name, f'{batch}, {size[0]} x {size[1]}'),
            *ratio_cells(ours, most=TARGET),
            *(ratio_cells(authors)[0], hook_cells[0], hook_cells[2]),
            *(f'{peak:,.1f}' for peak in memory),
        )
    Console(width=140).print(table)


if __name__ == '__main__':
    run_tool(main)
