"""What both logits go through in front of a loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from mmkd_logit.functional import (
    kd_loss,
    scale_by_std,
    standardize,
    standardize_classes,
    swap_errors,
)
from mmkd_logit.modules.losses import DKDLoss, KDLoss, LogitLoss, MCLDLoss
from mmkd_logit.registry import ROW_TRANSFORMS
from mmkd_logit.structures import LogitRows

CLASSES = 4
TRANSFORMS = ('scale_by_std', 'standardize', 'standardize_classes', 'swap_errors')
every_transform = pytest.mark.parametrize('name', TRANSFORMS)


def make_rows(count: int = 10, seed: int = 0) -> LogitRows:
    generator = torch.Generator().manual_seed(seed)
    size = (count, CLASSES)
    student, teacher = torch.randn(2, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return LogitRows(student.requires_grad_(), 3 * teacher, labels=labels)


def test_all_are_known() -> None:
    ROW_TRANSFORMS.import_from_location()
    assert set(TRANSFORMS) == set(ROW_TRANSFORMS.module_dict)


@every_transform
def test_transforms_what_the_loss_compares(name: str) -> None:
    rows = make_rows()
    s, t = rows.student, rows.teacher
    expected = {
        'scale_by_std': lambda: (scale_by_std(s)[0], scale_by_std(t)[0]),
        'standardize': lambda: (standardize(s), standardize(t)),
        'standardize_classes': lambda: (standardize_classes(s), standardize_classes(t)),
        'swap_errors': lambda: (s, swap_errors(t, rows.labels)),
    }[name]()
    got = KDLoss(tau=2.0, transforms=[name])(rows)
    torch.testing.assert_close(got, kd_loss(*expected, 2.0))


@every_transform
def test_gradcheck_through_a_loss(name: str) -> None:
    rows = make_rows(5)
    loss = DKDLoss(tau=1.5, transforms=[name])
    assert torch.autograd.gradcheck(
        lambda s: loss(LogitRows(s, rows.teacher, labels=rows.labels)), rows.student
    )


@pytest.mark.filterwarnings('error')
@every_transform
def test_no_rows(name: str) -> None:
    rows = make_rows(0)
    value = KDLoss(transforms=[name])(rows)
    value.backward()
    assert value == 0 and rows.student.grad.shape == (0, CLASSES)


def test_luminet_is_kd_behind_standardized_classes() -> None:
    """Its factor is not its squared temperature, but one of its own."""
    rows, tau, alpha = make_rows(), 3.0, 5.0

    def z(logits: Tensor) -> Tensor:
        var = logits.var(0, unbiased=False)
        return (logits - logits.mean(0)) / torch.sqrt(var + 1e-5) / tau

    s, t = z(rows.student), z(rows.teacher)
    naive = alpha**2 * kl_div(s.log_softmax(1), t.softmax(1), reduction='batchmean')
    loss = KDLoss(
        tau=tau, loss_weight=alpha**2 / tau**2, transforms=['standardize_classes']
    )
    got = loss(rows)
    torch.testing.assert_close(got, naive, rtol=1e-11, atol=0)
    (grad,) = torch.autograd.grad(got, rows.student)
    (expected,) = torch.autograd.grad(naive, rows.student)
    torch.testing.assert_close(grad, expected, rtol=1e-10, atol=1e-13)


def test_swap_errors_needs_labels() -> None:
    rows = make_rows()
    loss = KDLoss(transforms=['swap_errors'])
    assert loss.needs_labels and not KDLoss().needs_labels
    with pytest.raises(ValueError, match='swap_errors needs one label per row.*mixup'):
        loss(LogitRows(rows.student, rows.teacher))


def test_a_transform_that_gathers_makes_its_loss_gather() -> None:
    assert KDLoss(transforms=['standardize_classes']).gathers
    assert not KDLoss(transforms=['standardize']).gathers


def build() -> list[LogitLoss]:
    settings = dict(queue_size=8, num_classes=CLASSES, mask_own_image=False)
    return [
        KDLoss(tau=2.0, transforms=['standardize_classes', 'standardize']),
        DKDLoss(transforms=['swap_errors', 'standardize_classes']),
        MCLDLoss(transforms=['standardize_classes'], **settings),
    ]


# How many of ten rows are the first process's.
SPLITS = (5, 7, 10, 0)


def part(rows: LogitRows, where: slice) -> LogitRows:
    """Some of the rows, with a gradient of their own."""
    student = rows.student[where].detach().requires_grad_()
    return LogitRows(student, rows.teacher[where], labels=rows.labels[where])


def work(rank: int, folder: str) -> None:
    """One of two processes: a few steps on its share of the rows."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/init', rank=rank, world_size=2
    )
    losses = build()
    results = []
    for step, split in enumerate(SPLITS):
        mine = slice(0, split) if rank == 0 else slice(split, 10)
        for loss in losses:
            rows = part(make_rows(seed=step), mine)
            value = loss(rows)
            value.backward()
            # DDP takes the mean.
            results.append((value.detach() / 2, rows.student.grad / 2))
    torch.save(results, f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    shares = [torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1)]
    both = zip(*shares)
    losses = build()
    for step in range(len(SPLITS)):
        for loss in losses:
            rows = part(make_rows(seed=step), slice(None))
            value = loss(rows)
            value.backward()
            (first, slope), (second, other) = next(both)
            torch.testing.assert_close(first + second, value.detach())
            grad = torch.cat([slope, other])
            torch.testing.assert_close(grad, rows.student.grad, rtol=1e-5, atol=1e-8)
