"""Losses that look across rows: two processes do what one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmkd_logit.functional import (
    batch_correlation_loss,
    class_correlation_loss,
    dist_loss,
    kd_loss,
)
from mmkd_logit.modules.losses import DISTLoss, LogitLoss, MLKDLoss
from mmkd_logit.structures import LogitRows

LOSSES = {
    'dist': DISTLoss(beta=0.5, gamma=2.0, tau=3.0),
    'mlkd': MLKDLoss(taus=(1.0, 3.0)),
}
CLASSES = 4
# How many of ten rows are the first process's; at -1 neither has any.
SPLITS = (5, 7, 10, 0, -1)


def make_rows(seed: int, where: slice) -> LogitRows:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 10, CLASSES, generator=generator).double()
    return LogitRows(student[where].requires_grad_(), teacher[where])


def step(loss: LogitLoss, rows: LogitRows) -> tuple[torch.Tensor, torch.Tensor]:
    value = loss(rows)
    value.backward()
    assert rows.student.grad is not None
    return value.detach(), rows.student.grad


def work(rank: int, folder: str) -> None:
    """One of two processes: each loss on its share of the rows."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/init', rank=rank, world_size=2
    )
    results = {}
    for name, loss in LOSSES.items():
        for seed, split in enumerate(SPLITS):
            mine = slice(0, split) if rank == 0 else slice(split, 10)
            mine = slice(0) if split < 0 else mine
            results[name, split] = step(loss, make_rows(seed, mine))
    torch.save(results, f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1))
    for name, loss in LOSSES.items():
        for seed, split in enumerate(SPLITS):
            whole = make_rows(seed, slice(0) if split < 0 else slice(None))
            value, grad = step(loss, whole)
            (a, upper), (b, lower) = first[name, split], second[name, split]
            # DDP takes the mean.
            torch.testing.assert_close((a + b) / 2, value, rtol=1e-10, atol=1e-14)
            both = torch.cat([upper, lower]) / 2
            torch.testing.assert_close(both, grad, rtol=1e-9, atol=1e-14)
            assert (value > 0) == (split >= 0)


def test_dist_computes_its_function() -> None:
    rows = make_rows(0, slice(None))
    got = LOSSES['dist'](rows)
    expected = dist_loss(rows.student, rows.teacher, 0.5, 2.0, 3.0)
    torch.testing.assert_close(got, expected)
    default = DISTLoss()
    assert (default.beta, default.gamma, default.tau) == (1.0, 1.0, 1.0)


def test_mlkd_sums_its_terms() -> None:
    rows = make_rows(0, slice(None))
    pair = rows.student, rows.teacher
    terms = {
        'kd': kd_loss,
        'class_correlation': class_correlation_loss,
        'batch_correlation': batch_correlation_loss,
    }
    total = 0.0
    for name, function in terms.items():
        switches = {each: each == name for each in terms}
        got = MLKDLoss(taus=(1.0, 3.0), **switches)(rows)
        torch.testing.assert_close(got, function(*pair, 1.0) + function(*pair, 3.0))
        total += got
    torch.testing.assert_close(LOSSES['mlkd'](rows), total)
    assert MLKDLoss().taus == (2.0, 3.0, 4.0, 5.0, 6.0)


def test_mistakes_of_settings_are_named() -> None:
    for bad in (float('nan'), float('inf'), 'abc', None):
        for name in ('beta', 'gamma'):
            with pytest.raises(ValueError, match=f'{name} must be a finite number'):
                DISTLoss(**{name: bad})
        with pytest.raises(ValueError, match='taus must be a finite number above 0'):
            MLKDLoss(taus=(2.0, bad))
    for bad in ((), 4.0, '4'):
        with pytest.raises(ValueError, match='taus must be a list of temperatures'):
            MLKDLoss(taus=bad)
    with pytest.raises(ValueError, match='all are off'):
        MLKDLoss(kd=False, class_correlation=False, batch_correlation=False)
