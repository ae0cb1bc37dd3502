from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from mmkd_logit.functional import kd_loss
from mmkd_logit.modules.losses import CTKDLoss
from mmkd_logit.structures import LogitRows


def make_rows(where: slice = slice(None)) -> LogitRows:
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    return LogitRows(3 * student[where], 3 * teacher[where])


def slope(loss: CTKDLoss) -> float:
    loss.theta.grad = None
    loss(make_rows()).backward()
    assert loss.theta.grad is not None
    return loss.theta.grad.item()


def test_value_and_reversed_gradient() -> None:
    rows, loss = make_rows(), CTKDLoss(loss_weight=0.9)
    first = 1 + 20 / (1 + math.exp(-1))
    assert loss.temperature.item() == pytest.approx(first)
    expected = 0.9 * kd_loss(rows.student, rows.teacher, first)
    torch.testing.assert_close(loss(rows), expected)
    gap = 1e-3
    upper, lower = (
        0.9
        * kd_loss(
            rows.student.double(),
            rows.teacher.double(),
            1 + 20 / (1 + math.exp(-1 - off)),
        )
        for off in (gap, -gap)
    )
    along = (upper - lower).item() / (2 * gap)
    for reversal in (-1.0, -0.25, 0.0):
        loss.reversal = reversal
        assert slope(loss) == pytest.approx(reversal * along, rel=1e-4)
        torch.testing.assert_close(loss(rows), expected)


def test_bounds_of_the_temperature() -> None:
    loss = CTKDLoss(min_tau=2.0, tau_range=6.0)
    for theta, tau in ((-100.0, 2.0), (0.0, 5.0), (100.0, 8.0)):
        torch.nn.init.constant_(loss.theta, theta)
        assert loss.temperature == loss.statistics()['temperature'] == tau
        assert math.isfinite(slope(loss))


def test_warns_of_a_missing_curriculum() -> None:
    loss = CTKDLoss()
    loss.reversal = -0.1
    assert loss.begin(None) is None and loss.reversal == -0.1
    loss = CTKDLoss()
    full = slope(loss)
    assert 'Add dict(type=' in loss.begin(None)
    assert slope(loss) == full != 0


def test_mistakes_are_named() -> None:
    for name in ('min_tau', 'tau_range'):
        for bad in (0, -1.0, math.nan, 'abc'):
            with pytest.raises(ValueError, match=f'{name} must be a finite number'):
                CTKDLoss(**{name: bad})


class Whole(torch.nn.Module):
    """What DDP wraps."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = CTKDLoss()

    def forward(self, rows: LogitRows) -> torch.Tensor:
        return self.loss(rows)


def work(rank: int, folder: str) -> None:
    """One of two processes: on half the rows, then without any."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/init', rank=rank, world_size=2
    )
    model = DistributedDataParallel(Whole())
    slopes = []
    for where in (slice(0, 3) if rank == 0 else slice(3, 6), slice(0)):
        model.zero_grad()
        model(make_rows(where)).backward()
        slopes.append(model.module.loss.theta.grad.clone())
    torch.save(slopes, f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_one_temperature_for_two_processes(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        half, nothing = torch.load(tmp_path / f'{rank}.pt')
        assert half.item() == pytest.approx(slope(CTKDLoss()), rel=1e-5)
        assert nothing == 0
