"""What every registered loss keeps, whatever it computes.

A loss that is registered in ``mmkd_logit.registry.MODELS`` is found automatically.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import standardize
from mmkd_logit.models.settings import build_part
from mmkd_logit.modules.losses import LogitLoss
from mmkd_logit.registry import MODELS
from mmkd_logit.structures import LogitRows

ROWS, CLASSES = 6, 5
# Part of them gets no gradient, so theirs is not that of the value.
DETACHED = ('WSLDLoss',)
HALF_AND_SINGLE = (torch.float16, torch.bfloat16, torch.float32)
Check = Callable[[type[LogitLoss]], None]
CHECKS: list[Check] = []


def every_loss() -> list[type[LogitLoss]]:
    """All registered losses, but for those of other tests."""
    MODELS.import_from_location()
    return [
        kind
        for kind in MODELS.module_dict.values()
        if isinstance(kind, type)
        and issubclass(kind, LogitLoss)
        and kind.__module__ not in ('test_logit_distiller',)
    ]


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


def make(
    kind: type[LogitLoss], classes: int = CLASSES, **settings: object
) -> LogitLoss:
    """A loss as the distiller builds it."""
    known = {'num_classes': classes, 'in_channels': 8}
    loss = build_part({'type': kind, **settings}, 'losses.it', known)
    loss.begin(ROWS)
    return loss


def make_rows(
    student: Tensor | None = None,
    teacher: Tensor | None = None,
    labels: Tensor | None = None,
    **settings: object,
) -> LogitRows:
    """Some rows with all that a loss may ask for; the first label is unlikely."""
    generator = torch.Generator().manual_seed(1)
    size = (ROWS, CLASSES)
    if student is None:
        student = 2 * torch.randn(size, generator=generator)
    if teacher is None:
        teacher = 3 * torch.randn(size, generator=generator)
    if labels is None:
        labels = torch.arange(len(teacher)) % 2
        labels[:1] = teacher[:1].argmin(1)
    return LogitRows(
        student=student,
        teacher=teacher,
        labels=labels,
        image_index=torch.arange(len(teacher)),
        batch_index=torch.arange(len(teacher)) // 3,
        **settings,
    )


def value_of(kind: type[LogitLoss], rows: LogitRows, **settings: object) -> Tensor:
    """Of a new loss, in its second step: a queue holds rows by then."""
    loss = make(kind, rows.student.shape[1], **settings)
    before = make_rows(rows.student.detach().roll(1, 0), rows.teacher.roll(1, 0))
    loss(
        LogitRows(
            before.student,
            before.teacher,
            before.student,
            before.labels,
            before.image_index + len(before),
            before.batch_index,
        )
    )
    return loss(rows)


def value_and_grad(
    kind: type[LogitLoss], rows: LogitRows, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    leaf = rows.student.detach().clone().requires_grad_()
    value = value_of(kind, make_rows(leaf, rows.teacher, rows.labels))
    (grad,) = torch.autograd.grad(value * scale, leaf)
    return value.detach(), grad / scale


@check
def gradient_is_that_of_the_value(kind: type[LogitLoss]) -> None:
    if kind.__name__ in DETACHED:
        return
    rows = make_rows()
    student = rows.student.double().requires_grad_()
    teacher = rows.teacher.double()
    assert torch.autograd.gradcheck(
        lambda s: value_of(kind, make_rows(s, teacher)), student
    )


@check
def teacher_gets_no_gradient(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    student = rows.student.clone().requires_grad_()
    teacher = rows.teacher.clone().requires_grad_()
    value_of(kind, make_rows(student, teacher)).backward()
    assert teacher.grad is None or not teacher.grad.any()
    assert student.grad is not None and student.grad.abs().sum() > 0


@check
def half_precision_in_single_precision_inside(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    for dtype in (torch.float16, torch.bfloat16):
        narrow = make_rows(rows.student.to(dtype), rows.teacher.to(dtype))
        wide = make_rows(narrow.student.float(), narrow.teacher.float())
        value, grad = value_and_grad(kind, narrow, scale=256.0)
        expected, slopes = value_and_grad(kind, wide)
        assert value.dtype == torch.float32 and grad.dtype == dtype
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        atol = 2 * torch.finfo(dtype).eps * slopes.abs().max().item()
        torch.testing.assert_close(grad.float(), slopes, rtol=0, atol=atol)


@check
def autocast_does_not_narrow_it(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    expected, slopes = value_and_grad(kind, rows)
    with torch.autocast('cpu', torch.bfloat16):
        value, grad = value_and_grad(kind, rows)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(grad, slopes, rtol=1e-5, atol=1e-7)


@check
def finite_for_every_pair_of_logits(kind: type[LogitLoss]) -> None:
    values = torch.linspace(-100, 100, 21)
    pairs = torch.cartesian_prod(values, values)
    for dtype in HALF_AND_SINGLE:
        student = torch.stack([pairs[:, 0], pairs[:, 1], -pairs[:, 0]], 1).to(dtype)
        teacher = torch.stack([pairs[:, 1], -pairs[:, 0], pairs[:, 0]], 1).to(dtype)
        value, grad = value_and_grad(kind, make_rows(student, teacher))
        assert value.isfinite() and value > 0
        assert grad.isfinite().all()


@check
def finite_for_any_label(kind: type[LogitLoss]) -> None:
    """The teacher's least likely class, or its most likely, of distant logits."""
    generator = torch.Generator().manual_seed(2)
    student, teacher = 100 - 200 * torch.rand(2, 64, 7, generator=generator)
    for dtype in HALF_AND_SINGLE:
        s, t = student.to(dtype), teacher.to(dtype)
        for labels in (t.argmin(1), t.argmax(1), s.argmin(1)):
            value, grad = value_and_grad(kind, make_rows(s, t, labels))
            assert value.isfinite() and value > 0
            assert grad.isfinite().all()


@check
def finite_for_a_saturated_teacher(kind: type[LogitLoss]) -> None:
    """Its probabilities are 0 and 1 to the last digit, and the labels disagree."""
    for dtype in HALF_AND_SINGLE:
        teacher = torch.zeros(ROWS, CLASSES, dtype=dtype)
        teacher[:, 3] = 300.0
        student = torch.zeros(ROWS, CLASSES, dtype=dtype)
        student[:, 2] = 300.0
        for s, t in ((student, teacher), (teacher, teacher), (student * 0, teacher)):
            value, grad = value_and_grad(kind, make_rows(s, t))
            assert value.isfinite() and grad.isfinite().all()


@check
def student_that_is_not_finite_gives_no_finite_value(kind: type[LogitLoss]) -> None:
    """A gradient scaler skips such a step."""
    for bad in (math.nan, math.inf, -math.inf):
        student = make_rows().student.clone()
        student[2, 1] = bad
        value, grad = value_and_grad(kind, make_rows(student))
        assert not value.isfinite()
        assert not grad.isfinite().all()


@check
def by_row_adds_up_over_parts(kind: type[LogitLoss]) -> None:
    """What a segmentor's strips rely on, of those that say so."""
    loss, rows = make(kind), make_rows()
    if not loss.takes_strips:
        return
    parts = torch.arange(ROWS).split([1, 3, 2])
    total = sum(loss(rows.take(part)) * len(part) / ROWS for part in parts)
    torch.testing.assert_close(total, loss(rows), rtol=1e-5, atol=1e-6)


@check
def strides_do_not_matter_and_inputs_are_left_alone(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    strided = [each.t().contiguous().t() for each in (rows.student, rows.teacher)]
    before = copy.deepcopy(strided)
    value, grad = value_and_grad(kind, make_rows(*strided))
    assert all(torch.equal(*pair) for pair in zip(strided, before))
    expected, slopes = value_and_grad(kind, rows)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, slopes)


@check
def no_rows_give_a_zero_that_keeps_the_graph(kind: type[LogitLoss]) -> None:
    for settings in ({}, {'transforms': ('standardize',)}):
        student = torch.zeros(0, CLASSES, requires_grad=True)
        value = make(kind, **settings)(make_rows(student, torch.zeros(0, CLASSES)))
        assert value == 0
        value.backward()
        assert student.grad is not None and student.grad.shape == (0, CLASSES)


@check
def second_derivative_is_refused_or_right(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    student = rows.student.double().requires_grad_()
    teacher = rows.teacher.double()
    value = value_of(kind, make_rows(student, teacher))
    try:
        torch.autograd.grad(value, student, create_graph=True)
    except RuntimeError as error:
        assert 'no second derivative' in str(error)
        return
    assert torch.autograd.gradgradcheck(
        lambda s: value_of(kind, make_rows(s, teacher)), student
    )


@check
def common_settings_work(kind: type[LogitLoss]) -> None:
    rows = make_rows()
    plain = value_of(kind, rows)
    torch.testing.assert_close(value_of(kind, rows, loss_weight=0.25), plain / 4)
    both = make_rows(rows.student * 0, rows.teacher, aux=rows.student)
    torch.testing.assert_close(value_of(kind, both, head='aux'), plain)
    z = make_rows(standardize(rows.student), standardize(rows.teacher))
    got = value_of(kind, rows, transforms=('standardize',))
    torch.testing.assert_close(got, value_of(kind, z), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='Give the distiller an aux_head'):
        make(kind, head='aux')(rows)


@check
def weight_0_computes_nothing_and_reaches_everything(kind: type[LogitLoss]) -> None:
    loss = make(kind)
    loss.schedule = 0.0
    loss.compute = None  # type: ignore[assignment]  it would fail if it were called
    student = make_rows().student.clone().requires_grad_()
    value = loss(make_rows(student))
    assert value == 0
    value.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))
    assert all(param.grad is not None for param in loss.parameters())


@check
def mistakes_are_named(kind: type[LogitLoss]) -> None:
    wrong = (TypeError, ValueError)  # only types that this package annotates are read
    for bad in (math.nan, math.inf, 'abc', None, True):
        with pytest.raises(wrong, match='it.*loss_weight must be a finite n'):
            make(kind, loss_weight=bad)
    with pytest.raises(ValueError, match="'main' or 'aux', but got 'both'"):
        make(kind, head='both')
    with pytest.raises(TypeError, match="unknown key 'loss_wieght'.*'loss_weight'"):
        make(kind, loss_wieght=1.0)
    with pytest.raises(TypeError, match=r"older release.*transforms=\('standardize',"):
        make(kind, standardize=True)
    with pytest.raises(KeyError, match=r'transforms\[0\].type is .*standardise'):
        make(kind, transforms=('standardise',))
    with pytest.raises(wrong, match='transforms must be a list.*but got .standard'):
        make(kind, transforms='standardize')
    takes = make(kind)
    for name in ('tau', 'k'):
        if hasattr(takes, name):
            for bad in (0, -1.0, math.nan, math.inf, 'abc'):
                with pytest.raises(wrong, match=f'{name} must be a finite number'):
                    make(kind, **{name: bad})
