from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from mmkd_logit.functional import (
    _closed_form,
    _kendall_windows,
    kendall_tau,
    kendall_tau_loss,
)

STEEPNESS = (1.0, 5.0, 50.0, 100.0, 1000.0)
CLASSES = (2, 19, 150, 1000)
# What windows are said to cost.
COSTS = ('_FAR_PAIR', '_PER_CLASS', '_PER_CALL')
WAYS = {
    'windows': (0, -1e9, -1e9),
    'all pairs': (0, 1e9, 1e9),
    'chosen': tuple(getattr(_kendall_windows, name) for name in COSTS),
}

every_way = pytest.mark.parametrize('way', WAYS)


def naive(
    student: np.ndarray, teacher: np.ndarray, k: float
) -> tuple[float, np.ndarray]:
    """The definition and its derivative, with all C x C pairs of a row, in numpy."""
    rows, classes = student.shape
    value, grad = 0.0, np.empty(student.shape)
    for n in range(rows):
        s, t = student[n].astype(np.float64), teacher[n].astype(np.float64)
        with np.errstate(over='ignore'):
            tanh_s = np.tanh(k * (s[:, None] - s))
            tanh_t = np.tanh(k * (t[:, None] - t))
        pairs = classes * (classes - 1)
        value += 1 - (tanh_s * tanh_t).sum() / pairs
        grad[n] = -2 * k / pairs * (tanh_t * (1 - tanh_s**2)).sum(1)
    return value / rows, grad / rows


def rows_of_all_kinds(classes: int) -> tuple[Tensor, Tensor]:
    """Random, correlated, tied, equal, constant, extreme and crowded rows."""
    s, t = 3 * torch.randn(2, 8, classes)
    t[1] = s[1] + 0.1 * t[1]
    s[2], t[2] = s[2].round(), t[2].round()
    t[3] = s[3]
    s[4] = 1.5
    t[5] = -0.5
    scale = torch.logspace(-6, 30, classes)
    s[6], t[6] = s[6] * scale, t[6] * scale.flip(0)
    s[7], t[7] = 2 + s[7] * 1e-3, t[7] * 1e-4 - 7
    return s, t


def value_and_grad(
    student: Tensor, teacher: Tensor, k: float
) -> tuple[float, np.ndarray]:
    student = student.clone().requires_grad_()
    loss = kendall_tau_loss(student, teacher, k)
    (grad,) = torch.autograd.grad(loss, student)
    return loss.item(), grad.double().cpu().numpy()


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def force(way: str) -> None:
        for name, value in zip(COSTS, WAYS[way]):
            monkeypatch.setattr(_kendall_windows, name, value)

    return force


@pytest.mark.parametrize('classes', CLASSES)
@pytest.mark.parametrize('k', STEEPNESS)
def test_equals_the_dense_form(
    k: float, classes: int, go: Callable[[str], None], device: str
) -> None:
    rows = rows_of_all_kinds(classes)
    expected, slopes = naive(*(x.double().numpy() for x in rows), k)
    # What one pair adds to the slope at most, or all pairs of a class together.
    largest = max(np.abs(slopes).max(), 2 * k / (classes * (classes - 1)) / 8)
    for way in WAYS:
        go(way)
        for dtype, atol, rtol in (
            (torch.float64, 1e-13, 1e-12),
            (torch.float32, 3e-7, 3e-6),
        ):
            student, teacher = (x.to(device, dtype) for x in rows)
            value, grad = value_and_grad(student, teacher, k)
            assert value == pytest.approx(expected, abs=atol), way
            np.testing.assert_allclose(grad, slopes, rtol=0, atol=rtol * largest)


@pytest.mark.parametrize('k', [5.0, 100.0])
def test_single_precision_keeps_its_digits_in_many_sums(
    k: float, go: Callable[[str], None]
) -> None:
    student, teacher = torch.randn(2, 262, 1000)
    go('all pairs')
    _, expected = value_and_grad(student.double(), teacher.double(), k)
    for way in WAYS:
        go(way)
        _, grad = value_and_grad(student, teacher, k)
        error = np.abs(grad - expected).max() / np.abs(expected).max()
        assert error < 5e-7, way


@pytest.mark.parametrize('k', [1e30, 1e39, 1e300])
def test_huge_steepness(k: float) -> None:
    student, teacher = torch.randn(2, 4, 6)
    student[:, 1] = student[:, 0]
    value, grad = value_and_grad(student, teacher, k)
    assert value == pytest.approx(kendall_tau_loss(student, teacher, 1e6).item())
    assert not np.isnan(grad).any()


def test_each_row_goes_its_own_way(
    go: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    windowed = []
    far_pairs = _kendall_windows._far_pairs

    def spy(t: Tensor, *args: object) -> Tensor:
        windowed.append(len(t))
        return far_pairs(t, *args)

    monkeypatch.setattr(_kendall_windows, '_far_pairs', spy)
    # The teacher's constant row is a close call.
    student, teacher = (x[[0, 1, 2, 3, 4, 6, 7]] for x in rows_of_all_kinds(1000))
    kendall_tau_loss(student, teacher)
    # All but the row in which the student is constant, and that with all logits near.
    assert windowed == [5]
    kendall_tau_loss(student[:4], teacher[:4], k=0.1)
    assert windowed == [5]
    go('all pairs')
    kendall_tau_loss(student, teacher)
    assert windowed == [5]
    go('windows')
    kendall_tau_loss(student, teacher)
    assert windowed == [5, 7]


def test_one_row_and_its_bounds(device: str) -> None:
    logits = torch.randn(1, 40, dtype=torch.float64, device=device) * 1e4
    assert kendall_tau_loss(logits, logits) == 0
    assert kendall_tau_loss(logits, -logits) == 2
    assert kendall_tau_loss(logits, torch.zeros_like(logits)) == 1


@every_way
def test_gradcheck(way: str, go: Callable[[str], None]) -> None:
    go(way)
    student = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: kendall_tau_loss(s, teacher, 1.7), student
    )


def test_no_gradient_to_the_teacher() -> None:
    student = torch.randn(3, 60, requires_grad=True)
    teacher = torch.randn(3, 60, requires_grad=True)
    kendall_tau_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@every_way
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(
    dtype: torch.dtype, way: str, go: Callable[[str], None], device: str
) -> None:
    go(way)
    student = (torch.rand(3, 80, device=device) * 200 - 100).to(dtype)
    teacher = (torch.rand(3, 80, device=device) * 200 - 100).to(dtype)
    student[0, :2], student[0, 2:4] = 100, -100
    expected, slopes = naive(*(x.cpu().double().numpy() for x in (student, teacher)), 5)
    student.requires_grad_()
    loss = kendall_tau_loss(student, teacher, 5.0)
    # With a loss scale, as in mixed precision.
    (loss * 1024).backward()
    assert loss.dtype == torch.float32 and student.grad.dtype == dtype
    assert loss.item() == pytest.approx(expected, abs=3e-7)
    np.testing.assert_allclose(
        student.grad.double().cpu() / 1024,
        slopes,
        rtol=torch.finfo(dtype).eps,
        atol=1e-6 * np.abs(slopes).max(),
    )


@every_way
@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_the_largest_numbers(
    dtype: torch.dtype, way: str, go: Callable[[str], None]
) -> None:
    go(way)
    top = torch.finfo(dtype).max
    student = torch.tensor([[top, -top, 0], [top, 1, top]], dtype=dtype)
    teacher = torch.tensor([[-top, top, 0], [top, -top, 2]], dtype=dtype)
    student.requires_grad_()
    loss = kendall_tau_loss(student, teacher)
    loss.backward()
    # All three pairs disagree; two agree and one is tied.
    assert loss.item() == pytest.approx((2 + 1 / 3) / 2)
    # The tied pair, seen from both sides, in a mean of two rows.
    slope = 100 / 3 / 2
    expected = torch.tensor([[0, 0, 0], [-slope, 0, slope]], dtype=dtype)
    torch.testing.assert_close(student.grad, expected)


@every_way
def test_the_size_of_the_chunks_changes_nothing(
    way: str, go: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    go(way)
    student, teacher = (x.double() for x in rows_of_all_kinds(50))
    value, grad = value_and_grad(student, teacher, 100.0)
    taus = kendall_tau(student, teacher)
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', 150)
    chunked, chunked_grad = value_and_grad(student, teacher, 100.0)
    assert chunked == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(chunked_grad, grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(kendall_tau(student, teacher), taus, rtol=0, atol=0)


def test_many_rows_of_few_classes_are_as_the_same_rows_alone() -> None:
    student, teacher = torch.randn(2, 500, 5, dtype=torch.float64)
    _, grad = value_and_grad(student, teacher, 3.0)
    _, alone = value_and_grad(student[7:8], teacher[7:8], 3.0)
    np.testing.assert_allclose(grad[7] * 500, alone[0], rtol=1e-12)


@pytest.mark.parametrize('classes', [7, 70])
def test_inputs_are_left_alone_and_need_not_be_contiguous(classes: int) -> None:
    student, teacher = torch.randn(classes, 6).t(), torch.randn(classes, 6).t()
    before = student.clone(), teacher.clone()
    for function in (kendall_tau_loss, kendall_tau):
        result = function(student, teacher)
        assert torch.equal(student, before[0]) and torch.equal(teacher, before[1])
        contiguous = (x.contiguous() for x in before)
        torch.testing.assert_close(result, function(*contiguous), rtol=0, atol=0)


def test_no_rows() -> None:
    student = torch.zeros(0, 50, requires_grad=True)
    loss = kendall_tau_loss(student, torch.zeros(0, 50))
    loss.backward()
    assert loss == 0
    assert student.grad.shape == (0, 50)
    assert kendall_tau(student, torch.zeros(0, 50)).shape == (0,)


def test_second_derivatives_are_refused() -> None:
    student = torch.randn(2, 3, requires_grad=True)
    loss = kendall_tau_loss(student, torch.randn(2, 3))
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(loss, student, create_graph=True)


def test_autocast_does_not_narrow_the_maths() -> None:
    student, teacher = torch.randn(2, 4, 60)
    with torch.autocast('cpu', torch.bfloat16):
        loss = kendall_tau_loss(student, teacher)
        taus = kendall_tau(student, teacher)
    assert loss.dtype == taus.dtype == torch.float32
    assert torch.equal(loss, kendall_tau_loss(student, teacher))
    assert torch.equal(taus, kendall_tau(student, teacher))


@pytest.mark.parametrize('classes', [2, 3, 19, 150, 1000])
def test_coefficient_equals_scipy_without_ties(classes: int, device: str) -> None:
    student = torch.stack([torch.randperm(classes) for _ in range(6)]) * 1e-3
    teacher = student + 0.3e-3 * classes * torch.randn(6, classes)
    expected = [kendalltau(s, t).statistic for s, t in zip(student, teacher)]
    taus = kendall_tau(student.to(device).requires_grad_(), teacher.to(device))
    assert not taus.requires_grad and taus.shape == (6,)
    np.testing.assert_allclose(taus.cpu(), expected, atol=1e-7)
    wide = kendall_tau(student.double().to(device), teacher.to(device))
    np.testing.assert_allclose(wide.cpu(), expected, atol=1e-14)


@pytest.mark.parametrize('classes', [3, 40, 200])
def test_coefficient_counts_a_tie_as_zero(classes: int) -> None:
    student, teacher = torch.randint(5, (2, 6, classes)).half()
    student[0], teacher[1] = 1, 2
    s, t = student.double().numpy(), teacher.double().numpy()
    signs = np.sign(s[:, :, None] - s[:, None]) * np.sign(t[:, :, None] - t[:, None])
    expected = signs.sum((1, 2)) / (classes * (classes - 1))
    assert expected[0] == expected[1] == 0
    taus = kendall_tau(student, teacher)
    assert taus.dtype == torch.float32
    np.testing.assert_allclose(taus, expected, atol=1e-7)


def test_clear_errors() -> None:
    logits = torch.zeros(2, 3)
    for k in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='k must be a finite number above 0'):
            kendall_tau_loss(logits, logits, k)
    for function in (kendall_tau_loss, kendall_tau):
        with pytest.raises(ValueError, match=r'at least 2 classes.*\(4, 1\)'):
            function(torch.zeros(4, 1), torch.zeros(4, 1))
        with pytest.raises(ValueError, match=r'got \(2, 3\) and \(2, 4\)'):
            function(logits, torch.zeros(2, 4))
        with pytest.raises(TypeError, match=r'student must be .* got torch.int64'):
            function(logits.long(), logits)
        for bad in (float('nan'), float('inf'), -float('inf')):
            broken = torch.tensor([[0.0, 1.0, 2.0], [0.0, bad, 2.0]])
            with pytest.raises(ValueError, match='of the teacher are not finite'):
                function(logits, broken)
            with pytest.raises(ValueError, match='of the student are not finite'):
                kendall_tau(broken, logits)
