from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmkd_logit.dist import first_process_first, mean_over_ranks


def gradients(rank: int) -> list:
    return [
        None,
        torch.ones(2) if rank == 1 else None,
        torch.full((2, 3), float(rank)).t(),
        torch.tensor(10.0**rank, dtype=torch.float64),
        torch.tensor([rank], dtype=torch.float16),
    ]


PARAMS = [
    torch.zeros(3),
    torch.zeros(2),
    torch.zeros(3, 2),
    torch.tensor(0.0).double(),
    torch.zeros(1, dtype=torch.float16),
]


def on_a_rank(rank: int, cwd: Path) -> None:
    dist.init_process_group('gloo', f'file://{cwd}/store', rank=rank, world_size=2)
    torch.save(mean_over_ranks(gradients(rank), PARAMS), cwd / f'{rank}.pth')
    assert mean_over_ranks([None], PARAMS[:1]) == [None]
    os.environ['LOCAL_RANK'] = str(rank)
    done = cwd / 'downloaded'
    with first_process_first():
        assert done.exists() == (rank == 1)
        if rank == 0:
            time.sleep(0.2)
            done.touch()
    # What fails there does not leave the others waiting.
    with suppress(ValueError), first_process_first():
        if rank == 0:
            raise ValueError
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.spawn(on_a_rank, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        got = torch.load(tmp_path / f'{rank}.pth', weights_only=True)
        assert got[0] is None
        expected = [
            [0.5, 0.5],
            torch.full((3, 2), 0.5),
            torch.tensor(5.5).double(),
            [0.5],
        ]
        for mean, value in zip(got[1:], expected):
            torch.testing.assert_close(mean, torch.as_tensor(value, dtype=mean.dtype))
        assert [mean.dtype for mean in got[1:]] == [
            torch.float32,
            torch.float32,
            torch.float64,
            torch.float16,
        ]


def test_one_process() -> None:
    grads = gradients(1)
    means = mean_over_ranks(grads, PARAMS)
    assert all(mean is grad for mean, grad in zip(means, grads, strict=True))
