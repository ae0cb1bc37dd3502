"""A segmentor's step in strips against the same step on all pixels at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from test_segmentors import batch, distiller, head, segmentor
from torch import Tensor

from mmkd_logit.models import LogitDistiller
from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks import SegmentationTask, pixel_rows

LOSSES = dict(
    aux_head=dict(type='ConvLogitHead'),
    losses=dict(
        kd=dict(type='KDLoss', tau=2.0),
        dhkd=dict(type='BinaryKLNormLoss', head='aux', transforms=['standardize']),
        kendall_tau=dict(type='KendallTauLoss', k=2.0),
        mcld=dict(type='MCLDLoss', queue_size=50, mask_own_image=False),
    ),
)
pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


def make(align_corners: bool = False) -> LogitDistiller:
    """A student with an auxiliary decode head, and a teacher of another stride."""
    return distiller(
        student=segmentor(
            head(dropout_ratio=0, align_corners=align_corners),
            auxiliary_head=head(in_channels=16, in_index=2, dropout_ratio=0),
        ),
        teacher=dict(model=segmentor(stride=16), checkpoint=None),
        resolution='label',
        kendall_tau_rows=8,
        **LOSSES,
    )


make_rows = SegmentationTask.make_rows


def make_rows_at_once(*args: Any) -> LogitRows:
    """As the plain way does."""
    return make_rows(*args).whole


def both_ways(
    step: Callable[[LogitDistiller], Any], model: LogitDistiller
) -> tuple[Any, Any]:
    """What a step gives in strips of few lines, and of all pixels."""
    found = []
    for whole in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pixel_rows, 'chunk_size', lambda logits: 700)
            if whole:
                patch.setattr(SegmentationTask, 'make_rows', make_rows_at_once)
            torch.manual_seed(1)
            found.append(step(copy.deepcopy(model)))
    return found[0], found[1]


def assert_same(found: tuple[Any, Any], tol: float = 1e-5) -> None:
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=tol, atol=tol * b.abs().max().item())


@pytest.mark.parametrize(('align_corners', 'autocast'), [(True, False), (False, True)])
def test_losses_statistics_and_gradients(align_corners: bool, autocast: bool) -> None:
    model = make(align_corners)
    data = model.data_preprocessor(batch(), True)

    def step(model: LogitDistiller) -> list[Tensor]:
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            losses = model(**data, mode='loss')
        total, _ = model.parse_losses(losses)
        (total * 1024).backward()
        assert all(param.grad is not None for param in model.parameters())
        # Maps in bfloat16 have such gradients, which are far off in the first layers.
        last = model.student.decode_head.conv_seg, model.aux_head
        params = [p for m in (last if autocast else [model]) for p in m.parameters()]
        return [*losses.values(), *(param.grad for param in params)]

    assert_same(both_ways(step, model), 2e-2 if autocast else 1e-5)


@pytest.mark.parametrize('kind', ['OptimWrapper', 'mmkd_logit.GradAlignOptimWrapper'])
def test_accumulated_and_aligned(kind: str) -> None:
    model, batches = make(), [batch(), batch()]

    def step(model: LogitDistiller) -> list[Tensor]:
        wrapper = build_optim_wrapper(
            model,
            dict(
                type=kind,
                optimizer=dict(type='SGD', lr=0.1),
                accumulative_counts=2,
            ),
        )
        for data in batches:
            model.train_step(copy.deepcopy(data), wrapper)
        return [param.detach() for param in model.parameters()]

    assert_same(both_ways(step, model))
    moved = step(copy.deepcopy(model))
    assert any((a != b).any() for a, b in zip(moved, model.parameters()))


def on_a_rank(rank: int, folder: Path) -> None:
    """Gradients of both ranks, each of which has an image of its own."""
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=2)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model, data = make(), batch()
    data = {key: values[rank : rank + 1] for key, values in data.items()}
    data['data_samples'][0].gt_sem_seg.data[:, : 8 * rank] = 255
    data = model.data_preprocessor(data, True)

    def step(model: LogitDistiller) -> list[Tensor]:
        wrapped = MMDistributedDataParallel(
            model, device_ids=None, broadcast_buffers=False
        )
        losses = wrapped(**data, mode='loss')
        model.parse_losses(losses)[0].backward()
        return [param.grad for param in model.parameters()]

    grads, expected = both_ways(step, model)
    assert_same((grads, expected))
    mine = torch.cat([grad.flatten() for grad in grads])
    other = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(other, mine)
    assert torch.equal(*other)
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.spawn(on_a_rank, (tmp_path,), nprocs=2)
