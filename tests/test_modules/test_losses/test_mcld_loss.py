from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mmkd_logit.functional import (
    category_contrast_loss,
    contrast,
    instance_contrast_loss,
    sample_contrast_loss,
    standardize,
)
from mmkd_logit.modules.losses import MCLDLoss
from mmkd_logit.modules.losses.mcld_loss import draw_rows
from mmkd_logit.structures import LogitRows

CLASSES = 4
TERMS = ('instance', 'sample', 'category')


def make_rows(count: int = 6, seed: int = 0, first_image: int = 0) -> LogitRows:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, count, CLASSES, generator=generator)
    return LogitRows(
        student=student.requires_grad_(),
        teacher=teacher,
        labels=torch.randint(CLASSES, (count,), generator=generator),
        image_index=torch.arange(first_image, first_image + count),
    )


def make_loss(*terms: str, **settings: Any) -> MCLDLoss:
    switches = {term: term in terms for term in TERMS}
    return MCLDLoss(**{'queue_size': 8, 'num_classes': CLASSES, **switches, **settings})


@pytest.mark.parametrize('standard', [False, True])
def test_sums_the_terms(standard: bool) -> None:
    before, now = make_rows(5, seed=1, first_image=3), make_rows()
    transforms = ('standardize',) if standard else ()
    parts = {term: make_loss(term, transforms=transforms) for term in TERMS}
    whole = make_loss(*TERMS, transforms=transforms, loss_weight=0.5)
    for loss in (*parts.values(), whole):
        loss(before)
    values = {term: loss(now) for term, loss in parts.items()}

    z = standardize if standard else torch.clone
    s, t, queue = z(now.student), z(now.teacher), z(before.teacher)
    mask = now.image_index[:, None] != before.image_index
    assert mask.sum() == 6 * 5 - 3
    torch.testing.assert_close(
        values['instance'], instance_contrast_loss(s, t, queue, mask)
    )
    torch.testing.assert_close(values['sample'], sample_contrast_loss(s, t))
    torch.testing.assert_close(
        values['category'], category_contrast_loss(s, t, now.labels)
    )
    assert min(values.values()) > 0
    torch.testing.assert_close(whole(now), 0.5 * sum(values.values()))


@pytest.mark.parametrize(
    ('own_image', 'same_class'), [(False, False), (False, True), (True, True)]
)
def test_masks(own_image: bool, same_class: bool) -> None:
    before, now = make_rows(6, seed=1, first_image=3), make_rows()
    loss = make_loss('instance', mask_own_image=own_image, mask_same_class=same_class)
    loss(before)
    mask = torch.ones(6, 6, dtype=torch.bool)
    for i in range(6):
        for k in range(6):
            if own_image and now.image_index[i] == before.image_index[k]:
                mask[i, k] = False
            if same_class and now.labels[i] == before.labels[k]:
                mask[i, k] = False
    expected = instance_contrast_loss(now.student, now.teacher, before.teacher, mask)
    torch.testing.assert_close(loss(now), expected)


def test_a_batch_larger_than_the_queue() -> None:
    loss = make_loss('instance', queue_size=3)
    loss(make_rows(7))
    assert loss.queue is not None
    assert loss.queue.image_index.tolist() == [6, 4, 5]


def test_a_resting_loss_leaves_the_queue_alone() -> None:
    loss = make_loss('instance')
    loss.schedule = 0.0
    rows = make_rows()
    loss(rows).backward()
    assert loss.queue is not None and len(loss.queue) == 0
    assert torch.equal(rows.student.grad, torch.zeros(6, CLASSES))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('standard', [False, True])
def test_no_rows(standard: bool) -> None:
    rows = make_rows(0)
    transforms = ('standardize',) if standard else ()
    loss = make_loss(*TERMS, transforms=transforms)(rows)
    loss.backward()
    assert loss == 0 and rows.student.grad is not None


def test_no_queue_without_the_instance_term() -> None:
    loss = MCLDLoss(instance=False)
    assert loss.queue is None and not loss.state_dict()
    assert loss(make_rows()) > 0


def test_max_rows_draws_pixels_of_every_class() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 9 + [3])
    student, teacher = torch.randn(2, 1000, CLASSES)
    rows = LogitRows(student.requires_grad_(), teacher, labels=labels)
    loss = MCLDLoss(
        max_rows=50, queue_size=50, num_classes=CLASSES, mask_own_image=False
    )
    loss(rows).backward()
    assert loss.queue is not None
    assert loss.queue.labels.bincount().tolist() == [20, 20, 9, 1]
    used = (rows.student.grad != 0).any(1)
    assert used.sum() == 50


@pytest.mark.parametrize('most', [1, 4, 10, 30])
def test_draw_rows(most: int) -> None:
    labels = torch.tensor([5] * 20 + [2] * 6 + [9] * 4)[torch.randperm(30)]
    seen = set()
    for _ in range(200):
        drawn = draw_rows(30, most, labels, labels.device)
        assert len(drawn) == most == len(set(drawn.tolist()))
        each = sorted(int((labels[drawn] == k).sum()) for k in (2, 5, 9))
        # As equal as the numbers of rows let them be.
        assert {1: [0, 0, 1], 4: [1, 1, 2], 10: [3, 3, 4], 30: [4, 6, 20]}[most] == each
        seen |= set(drawn.tolist())
    assert most == 1 or len(seen) == 30
    assert len(set(draw_rows(30, most, None, labels.device).tolist())) == most


def test_clear_errors() -> None:
    rows = make_rows()
    with pytest.raises(ValueError, match='at least one of instance'):
        make_loss()
    with pytest.raises(ValueError, match='queue_size must be None or an integer'):
        make_loss('instance', queue_size=0)
    with pytest.raises(ValueError, match='tau must be'):
        make_loss('sample', tau=0)
    with pytest.raises(ValueError, match='max_rows must be 1 or more'):
        make_loss('sample', max_rows=0)
    with pytest.raises(ValueError, match='queue_size must be None or an integer'):
        make_loss('instance', queue_size='all')
    with pytest.raises(ValueError, match='num_classes'):
        MCLDLoss()
    with pytest.raises(ValueError, match='instance=False'):
        make_loss('sample', mask_same_class=True)
    blended = LogitRows(rows.student, rows.teacher, image_index=rows.image_index)
    with pytest.raises(ValueError, match='Set category=False'):
        make_loss('category')(blended)
    assert make_loss('instance', 'sample')(blended) > 0
    unknown = LogitRows(rows.student, rows.teacher, labels=rows.labels)
    with pytest.raises(ValueError, match="Add 'sample_idx'"):
        make_loss('instance')(unknown)
    assert make_loss('instance', 'sample', mask_own_image=False)(unknown) > 0
    wide = torch.randn(2, CLASSES + 1)
    with pytest.raises(ValueError, match='queue'):
        make_loss('instance')(LogitRows(wide, wide, image_index=torch.arange(2)))


def test_on_a_gpu(device: str) -> None:
    values = []
    for place in ('cpu', device):
        torch.manual_seed(0)
        loss = make_loss(*TERMS, mask_same_class=True).to(place)
        for seed in range(3):
            rows = make_rows(6, seed, 2 * seed)
            there = {
                name: getattr(rows, name).detach().to(place)
                for name in ('student', 'teacher', 'labels', 'image_index')
            }
            value = loss(LogitRows(**there))
        values.append(value.cpu())
        big = make_loss(*TERMS, max_rows=4).to(place)
        assert big(LogitRows(**there)).isfinite()
    torch.testing.assert_close(*values)


def test_the_queue_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, '_CHUNK', 2**14)
    loss = make_loss('instance', queue_size=50_000, max_rows=50_000)
    loss(make_rows(50_000))
    rows = make_rows(2)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss(rows).backward()
    assert loss.queue is not None
    sizes = [event.self_cpu_memory_usage for event in profiler.events()]
    assert 2**14 <= max(sizes) < loss.queue.logits.nbytes / 2


def part(rows: LogitRows, where: slice) -> LogitRows:
    """Some of the rows, with a gradient of their own."""
    assert rows.labels is not None and rows.image_index is not None
    return LogitRows(
        student=rows.student[where].detach().requires_grad_(),
        teacher=rows.teacher[where],
        labels=rows.labels[where],
        image_index=rows.image_index[where],
    )


# How many of ten rows are the first process's.
SPLITS = (5, 7, 10, 0)


def work(rank: int, folder: str) -> None:
    """One of two processes: a few steps on its share of the rows."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/init', rank=rank, world_size=2
    )
    loss = make_loss(*TERMS, queue_size=20)
    grads = []
    for step, split in enumerate(SPLITS):
        mine = slice(0, split) if rank == 0 else slice(split, 10)
        rows = part(make_rows(10, step, 10 * step), mine)
        loss(rows).backward()
        grads.append(rows.student.grad / 2)  # DDP takes the mean
    torch.save((grads, loss.state_dict()), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    (first, queue), (second, other) = (
        torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1)
    )
    loss = make_loss(*TERMS, queue_size=20)
    for step in range(len(SPLITS)):
        rows = part(make_rows(10, step, 10 * step), slice(None))
        loss(rows).backward()
        grad = torch.cat([first[step], second[step]])
        torch.testing.assert_close(grad, rows.student.grad, rtol=1e-5, atol=1e-7)
    for key, value in loss.state_dict().items():
        assert torch.equal(queue[key], value) and torch.equal(other[key], value)
