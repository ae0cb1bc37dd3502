"""Rows made and consumed strip by strip against all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from contract import every_loss, make
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from mmkd_logit.models import KDLoss, LogitLoss, MCLDLoss
from mmkd_logit.modules.losses import RowTransform, losses_of
from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks import pixel_rows
from mmkd_logit.tasks.pixel_rows import PixelRows, PixelStrips

BY_ROW = [kind for kind in every_loss() if kind.by_row]
CLASSES = 5


class ScaledLoss(LogitLoss):
    """A loss by row with a parameter of its own, in plain autograd."""

    by_row = True

    def __init__(self, **common: object) -> None:
        super().__init__(**common)
        self.scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        right = student.gather(1, rows.labels[:, None]).mean()
        return mse_loss(student * self.scale, teacher) + right


class SpreadLoss(LogitLoss):
    """A loss across rows."""

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        return (student.std(0) - teacher.std(0)).square().mean()


class Centre(RowTransform):
    """A transform across rows."""

    def __call__(
        self, student: Tensor, teacher: Tensor, rows: LogitRows
    ) -> tuple[Tensor, Tensor]:
        return student - student.mean(0), teacher - teacher.mean(0)


def make_strips(
    dtype: torch.dtype = torch.float64,
    size: tuple[int, int] = (11, 23),
    align_corners: bool = False,
    ignored: float = 0.2,
) -> PixelStrips:
    generator = torch.Generator().manual_seed(3)

    def maps(height: int, width: int) -> Tensor:
        shape = (2, CLASSES, height, width)
        return (3 * torch.randn(shape, generator=generator, dtype=dtype)).to(dtype)

    labels = torch.randint(CLASSES, (2, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return PixelStrips(
        PixelRows(labels, size, 255, align_corners),
        student=maps(4, 6).requires_grad_(),
        teacher=maps(3, 5),
        aux=maps(4, 6).requires_grad_(),
        images=torch.tensor([7, 9]),
        teacher_align_corners=not align_corners,
    )


def gentle(kind: type[LogitLoss], **settings: object) -> LogitLoss:
    """A loss; a steep tanh would multiply what rounding leaves of the logits."""
    loss = make(kind, CLASSES, **settings)
    if hasattr(loss, 'k'):
        loss.k = 2.0
    return loss.double()


def gradients(values: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of a sum in which each counts differently."""
    total = sum(value * (1.0 + i) for i, value in enumerate(values))
    grads = torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads)]


def assert_same(losses: Sequence[LogitLoss], rows: PixelStrips, tol: float) -> None:
    params = [param for loss in losses for param in loss.parameters()]
    inputs = [rows.source('main'), rows.source('aux'), *params]
    got = losses_of(losses, rows)
    slopes = gradients(got, inputs)
    values = [loss(rows.whole) for loss in losses]
    for a, b in zip(got, values, strict=True):
        torch.testing.assert_close(a, b, rtol=tol, atol=tol)
    for a, b in zip(slopes, gradients(values, inputs), strict=True):
        assert a.dtype == b.dtype
        # That of a temperature is a small difference of numbers of about 1.
        largest = max(b.abs().max().item(), 0.0 if b.ndim else 1.0)
        torch.testing.assert_close(a, b, rtol=tol, atol=tol * largest)


@pytest.fixture(params=[1, 240, 10**6], ids=['line by line', 'two lines', 'all'])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements of a strip; a line has 115 of them."""
    monkeypatch.setattr(pixel_rows, 'chunk_size', lambda logits: request.param)


@pytest.mark.usefixtures('chunk')
@pytest.mark.parametrize('align_corners', [False, True])
def test_every_loss_by_row_at_once(align_corners: bool) -> None:
    rows = make_strips(align_corners=align_corners)
    losses = [
        gentle(kind, head=head, transforms=transforms, loss_weight=0.5)
        for kind in (*BY_ROW, ScaledLoss)
        for head, transforms in (('main', ()), ('aux', ('standardize',)))
    ]
    assert all(loss.takes_strips for loss in losses) and len(losses) >= 10
    assert_same(losses, rows, 1e-12)


@pytest.mark.usefixtures('chunk')
def test_in_single_precision() -> None:
    rows = make_strips(torch.float32)
    assert_same([gentle(kind) for kind in BY_ROW], rows, 1e-6)
    assert_same([KDLoss(), KDLoss(tau=1.0, head='aux')], rows, 1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_maps(dtype: torch.dtype) -> None:
    rows = make_strips(dtype)
    value = KDLoss()(rows)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, KDLoss()(rows.whole))
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(KDLoss()(rows), value)
    maps = rows.source('main')
    got, expected = (
        torch.autograd.grad(256 * KDLoss()(each), maps)[0]
        for each in (rows, rows.whole)
    )
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected)


def test_what_looks_across_rows_sees_all_of_them() -> None:
    rows = make_strips()
    losses = [SpreadLoss(), KDLoss(transforms=[Centre()]), KDLoss()]
    assert [loss.takes_strips for loss in losses] == [False, False, True]
    assert_same(losses, rows, 1e-12)


def test_losses_by_row_never_make_all_rows() -> None:
    rows = make_strips()
    sum(losses_of([KDLoss(), KDLoss(head='aux')], rows, [len])).backward()
    assert 'whole' not in vars(rows)
    SpreadLoss()(rows)
    assert 'whole' in vars(rows)


def test_mcld_makes_the_pixels_that_it_draws() -> None:
    rows = make_strips(ignored=0.0)
    values = []
    for whole in (False, True):
        torch.manual_seed(5)
        loss = MCLDLoss(queue_size=50, max_rows=20, num_classes=CLASSES)
        loss(rows.whole if whole else rows)
        values.append(loss(rows.whole if whole else rows))
        assert ('whole' in vars(rows)) == whole
    torch.testing.assert_close(*values, rtol=1e-10, atol=0)
    slopes = [torch.autograd.grad(value, rows.source('main'))[0] for value in values]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)


def test_statistics_are_means_over_all_rows() -> None:
    rows = make_strips()

    def first(some: LogitRows) -> Tensor:
        return some.student.detach()[:, 0].mean()

    _, got = losses_of([KDLoss()], rows, [first])
    torch.testing.assert_close(got, first(rows.whole).float())
    (alone,) = losses_of([], rows, [first])
    assert alone == got


def test_some_rows() -> None:
    rows = make_strips()
    index = torch.randint(len(rows), (9,))
    got, expected = rows.take(index), rows.whole.take(index)
    for name in ('student', 'teacher', 'aux', 'labels', 'image_index'):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name))
    assert torch.equal(rows.labels, rows.whole.labels)


def test_nothing_counts_or_has_a_weight() -> None:
    empty, rows = make_strips(ignored=1.0), make_strips()
    resting = KDLoss(loss_weight=0.0)
    for loss, each in ((KDLoss(), empty), (ScaledLoss(), empty), (resting, rows)):
        value, statistic = losses_of([loss], each, [lambda rows: rows.student.mean()])
        inputs = [each.source('main'), *loss.parameters()]
        assert value == 0
        assert not any(g.any() for g in torch.autograd.grad(value, inputs))
        assert (statistic == 0) == (each is empty)
    with pytest.raises(ValueError, match='Give the distiller an aux_head'):
        losses_of([KDLoss(head='aux')], without_aux(rows))


def without_aux(rows: PixelStrips) -> PixelStrips:
    maps = rows.source('main'), rows.source('main').detach()
    return PixelStrips(rows._pixels, *maps, None, None, False)


def test_without_a_gradient() -> None:
    rows = make_strips()
    expected = KDLoss()(rows)
    with torch.no_grad():
        value = KDLoss()(rows)
    assert not value.requires_grad and value == expected


def test_second_derivative_is_refused() -> None:
    rows = make_strips()
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(KDLoss()(rows), rows.source('main'), create_graph=True)


def test_a_student_that_is_not_finite() -> None:
    """A gradient scaler skips such a step."""
    rows = make_strips()
    with torch.no_grad():
        rows.source('main')[1, 2, 3, 3] = float('inf')
    value = KDLoss()(rows)
    assert not value.isfinite()
    assert not torch.autograd.grad(value, rows.source('main'))[0].isfinite().all()
