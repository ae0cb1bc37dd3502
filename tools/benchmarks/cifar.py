"""A CIFAR-100 step against a plain loop, and the cost of its data.

KD from resnet32x4 to resnet8x4 on 64 images, as in configs/kd/cifar100. Two steps run
alternately in one process, on one batch as a dataloader returns it: ours, with
everything that the distiller logs and checks, and a loop written by hand as in research
code: a forward pass each of teacher and student, cross entropy and softened KL,
backward, SGD. The loop gets normalized images; our step normalizes them itself.

The third item is a batch of 64 images made by the dataset, pipeline and collation of
the config, in this process. A loader's workers prepare batches in parallel with the
step: with n of them, a batch may take n times as long as a step before the step waits.
Images are random; the dataset's file is not needed.
"""

from __future__ import annotations

import warnings
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import Work, machine, parse_args, ratio_cells, times
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.datasets import CIFAR100
from rich.console import Console
from rich.table import Column, Table
from step import CONFIGS, build
from torch import Tensor, nn

from mmkd_logit.entry_point import run_tool

CONFIG = 'kd/cifar100/res32x4_res8x4'
# Batch size, and number of rounds.
SIZE, QUICK_SIZE = (64, 15), (4, 3)


class RandomCIFAR100(CIFAR100):
    """Noise images, stored as mmpretrain stores those of the file."""

    def load_data_list(self) -> list[dict[str, Any]]:
        images = np.random.default_rng(0).integers(
            256, size=(2000, 32, 32, 3), dtype=np.uint8
        )
        return [{'img': image, 'gt_label': i % 100} for i, image in enumerate(images)]


class Loop:
    """The training step of a loop without a framework."""

    def __init__(self, teacher: nn.Module, student: nn.Module, cfg: Config) -> None:
        self.teacher, self.student = teacher, student
        (kd,) = cfg.model.losses.values()
        self.tau, self.weight = kd.tau, kd.loss_weight
        self.task_weight = cfg.model.task_loss_weight
        settings = {k: v for k, v in cfg.optim_wrapper.optimizer.items() if k != 'type'}
        self.optimizer = torch.optim.SGD(student.parameters(), **settings)

    def __call__(self, images: Tensor, labels: Tensor) -> float:
        with torch.no_grad():
            expected = self.teacher(images) / self.tau
        logits = self.student(images)
        soft = F.kl_div(
            F.log_softmax(logits / self.tau, dim=1),
            F.softmax(expected, dim=1),
            reduction='batchmean',
        )
        task = self.task_weight * F.cross_entropy(logits, labels)
        loss = task + self.weight * self.tau**2 * soft
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def compare(size: int, rounds: int, device: str) -> list[list[float]]:
    """Time our step, the loop's and a batch of data in seconds, round by round."""
    cfg = Config.fromfile(CONFIGS / f'{CONFIG}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.checkpoint = None
    # Random data cannot be learned: at the recipe's rate, training would diverge.
    cfg.optim_wrapper.optimizer.lr = 1e-3
    settings = {k: v for k, v in cfg.train_dataloader.dataset.items() if k != 'type'}
    dataset = RandomCIFAR100(**settings)
    order = iter(np.random.default_rng(0).integers(len(dataset), size=10**6))

    def make_batch() -> dict[str, Any]:
        return default_collate([dataset[next(order)] for _ in range(size)])

    distiller, optim_wrapper = build(cfg.model, cfg, device)
    student, _ = build(cfg.model.student, cfg, device)
    batch = make_batch()
    data = distiller.data_preprocessor(batch, True)
    labels = torch.cat([sample.gt_label for sample in data['data_samples']])
    loop = Loop(distiller.teacher.module, student, cfg)
    work: list[Work] = [
        partial(distiller.train_step, batch, optim_wrapper),
        partial(loop, data['inputs'], labels.to(device)),
        make_batch,
    ]
    return times(work, rounds, device)


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    size, rounds = QUICK_SIZE if args.quick else SIZE
    seconds = compare(size, rounds, args.device)
    step, loop, batch = (1000 * median(each) for each in zip(*seconds))
    table = Table(
        Column('compared', no_wrap=True),
        *('ratio', 'quartiles', 'target', 'ms, first', 'ms, second'),
        title=f'{CONFIG}, {size} images; {machine(args.device)}',
    )
    ours_to_loop = [a / b for a, b, _ in seconds]
    data_to_step = [c / a for a, _, c in seconds]
    for name, ratios, most, both in (
        ('our step / plain loop', ours_to_loop, 1.0, (step, loop)),
        ('data of a batch / our step', data_to_step, 0.1, (batch, step)),
    ):
        cells = ratio_cells(ratios, most=most)
        table.add_row(name, *cells, *(f'{each:.1f}' for each in both))
    Console(width=120).print(table)


if __name__ == '__main__':
    run_tool(main)
