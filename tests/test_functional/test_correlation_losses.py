"""DIST and MLKD's terms: losses that look across rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from mmkd_logit.functional import (
    _closed_form,
    batch_correlation_loss,
    class_correlation_loss,
    dist_loss,
    kd_loss,
    multi_temperature_kd_loss,
)
from mmkd_logit.functional._soft_rows import alone
from mmkd_logit.functional.mlkd import correlations_over_ranks

DATA = Path(__file__).parents[1] / 'data'
FIXTURES = [
    f'{kind}_losses_c{classes}.npz'
    for kind in ('logit', 'baseline')
    for classes in (100, 19)
]


def batch_by_classes(student: Tensor, teacher: Tensor, tau: float = 4.0) -> Tensor:
    """The form for many rows, also of few."""
    # That of several processes, all but one of which have no rows.
    return correlations_over_ranks(student, teacher, [tau], ['batch'], alone, 2)


LOSSES: dict[str, Callable[..., Tensor]] = {
    'dist': dist_loss,
    'class': class_correlation_loss,
    'batch': batch_correlation_loss,
    'kd': lambda s, t, tau=4.0: multi_temperature_kd_loss(s, t, (tau, 1.5 * tau)),
}
every_loss = pytest.mark.parametrize('name', LOSSES)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    length = np.sqrt((x * x).sum()) * np.sqrt((y * y).sum())
    return (x * y).sum() / (length + 1e-8)


def naive(name: str, s: np.ndarray, t: np.ndarray, tau: float) -> float:
    """The definitions, one correlation or one product after another."""
    (rows, classes), q, p = s.shape, softmax(s / tau, 1), softmax(t / tau, 1)
    if name == 'dist':
        inter = 1 - sum(pearson(q[n], p[n]) for n in range(rows)) / rows
        intra = 1 - sum(pearson(q[:, c], p[:, c]) for c in range(classes)) / classes
        return tau**2 * (inter + intra)
    if name == 'kd':
        return sum(
            kd_loss(torch.tensor(s), torch.tensor(t), each).item()
            for each in (tau, 1.5 * tau)
        )
    if name == 'class':
        q, p = q.T, p.T
    gaps = [
        (q[i] @ q[j] - p[i] @ p[j]) ** 2 for i in range(len(q)) for j in range(len(q))
    ]
    return sum(gaps) / len(q)


@pytest.mark.parametrize('file', FIXTURES)
def test_equals_the_recorded_numbers(file: str, device: str) -> None:
    data = np.load(DATA / file)
    recorded: dict[str, Callable] = {
        'class_corr_T4': class_correlation_loss,
        'batch_corr_T4': batch_correlation_loss,
        'dist_b1_g1': dist_loss,
        'dist_T1': dist_loss,
        'dist_T4': partial(dist_loss, tau=4.0),
    }
    found = [key for key in recorded if key in data]
    assert len(found) == (4 if file.startswith('baseline') else 3)
    for key in found:
        for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
            student = torch.tensor(data['student'], dtype=dtype, device=device)
            teacher = torch.tensor(data['teacher'], dtype=dtype, device=device)
            loss = recorded[key](student.requires_grad_(), teacher)
            loss.backward()
            assert loss.dtype == dtype
            np.testing.assert_allclose(loss.item(), data[key], rtol=rtol)
            grad = data[f'{key}_grad']
            np.testing.assert_allclose(
                student.grad.cpu(), grad, rtol=rtol, atol=rtol * np.abs(grad).max()
            )


@every_loss
@pytest.mark.parametrize('tau', [0.5, 1.0, 3.7])
@pytest.mark.parametrize('shape', [(7, 11), (11, 7), (1, 5), (5, 2), (3, 1)])
def test_equals_the_definition(name: str, tau: float, shape: tuple[int, int]) -> None:
    student, teacher = 3 * torch.randn(2, *shape, dtype=torch.float64)
    loss = LOSSES[name](student, teacher, tau=tau)
    expected = naive(name, student.numpy(), teacher.numpy(), tau)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-10, atol=1e-15)


def test_weights_of_dist() -> None:
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    rows, classes = dist_loss(student, teacher, 1, 0), dist_loss(student, teacher, 0, 1)
    both = dist_loss(student, teacher, beta=0.3, gamma=2.0)
    torch.testing.assert_close(both, 0.3 * rows + 2.0 * classes)
    assert rows != classes


@every_loss
@pytest.mark.parametrize('rows', [3, 9])
def test_gradcheck(name: str, rows: int) -> None:
    student = torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(rows, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: LOSSES[name](s, teacher, tau=1.7), student
    )


def value_and_grad(
    loss: Callable[..., Tensor], student: Tensor, teacher: Tensor
) -> tuple[Tensor, Tensor]:
    student = student.detach().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert student.grad is not None
    return value.detach(), student.grad


@pytest.mark.parametrize('rows', [2, 5, 12])
def test_both_forms_of_the_batch_correlation_agree(rows: int) -> None:
    student, teacher = 3 * torch.randn(2, rows, 5, dtype=torch.float64)
    few, slope = value_and_grad(batch_correlation_loss, student, teacher)
    many, other = value_and_grad(batch_by_classes, student, teacher)
    torch.testing.assert_close(many, few, rtol=1e-11, atol=0)
    # As of one of two processes, of which the mean counts.
    torch.testing.assert_close(other / 2, slope, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize('name', ['class', 'batch'])
@pytest.mark.parametrize('rows', [4, 40])
def test_close_probabilities_cancel_no_digits(name: str, rows: int) -> None:
    teacher = torch.randn(rows, 5, dtype=torch.float64)
    values = []
    for gap in (1e-6, 1e-5):
        noise = torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))
        values.append(LOSSES[name](teacher + gap * noise, teacher).item())
    # Of second order, up to what the third adds.
    assert values[1] / values[0] == pytest.approx(100, rel=1e-3)
    assert LOSSES[name](teacher, teacher) == 0


def test_a_student_with_other_classes_in_the_same_relations() -> None:
    """The batch correlation is 0 for permuted classes, and never below."""
    teacher = 3 * torch.randn(40, 5)
    student = teacher[:, [1, 2, 3, 4, 0]]
    value, grad = value_and_grad(batch_correlation_loss, student, teacher)
    assert 0 <= value < 1e-6
    assert grad.abs().max() < 1e-6


@every_loss
def test_the_size_of_the_chunks_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = torch.randn(2, 29, 13, dtype=torch.float64)
    value, grad = value_and_grad(LOSSES[name], student, teacher)
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', 50)
    chunked, slopes = value_and_grad(LOSSES[name], student, teacher)
    torch.testing.assert_close(chunked, value, rtol=1e-12, atol=0)
    torch.testing.assert_close(slopes, grad, rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize('chunk', [2, 2**18])
def test_what_does_not_vary_correlates_with_nothing(
    dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', chunk)
    varied = torch.randn(9, 3, dtype=dtype)
    rows_alike = torch.tensor([0.3, 0.1, -0.7], dtype=dtype).expand(9, 3)
    flat = torch.full((9, 1), 0.3, dtype=dtype).expand(9, 3)
    for beta, gamma, constant in ((1, 0, flat), (0, 1, rows_alike), (1, 1, flat)):
        for pair in ((varied, constant), (constant, varied), (constant, constant)):
            value, grad = value_and_grad(
                partial(dist_loss, beta=beta, gamma=gamma), *pair
            )
            assert value == beta + gamma
            assert torch.equal(grad, torch.zeros_like(grad))


def test_dist_does_not_depend_on_scale_and_shift_of_probabilities() -> None:
    """For two classes any student that agrees in sign has rows of correlation 1."""
    student = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([[5.0, 0.0], [0.0, 0.1]], dtype=torch.float64)
    assert dist_loss(student, teacher, gamma=0) == pytest.approx(0, abs=1e-6)
    assert dist_loss(student, -teacher, gamma=0) == pytest.approx(2, abs=1e-6)


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_for_the_largest_numbers(name: str, dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    student = torch.tensor([[top, -top, 0], [top, 1, top]], dtype=dtype)
    teacher = torch.tensor([[-top, top, 0], [top, -top, 2]], dtype=dtype)
    value, grad = value_and_grad(LOSSES[name], student, teacher)
    assert value.isfinite() and grad.isfinite().all()


@every_loss
def test_no_rows_give_a_zero_that_keeps_the_graph(name: str) -> None:
    value, grad = value_and_grad(LOSSES[name], torch.zeros(0, 5), torch.zeros(0, 5))
    assert value == 0 and grad.shape == (0, 5)


@every_loss
def test_clear_errors(name: str) -> None:
    loss, logits = LOSSES[name], torch.zeros(2, 3)
    for tau in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='taus? must be a finite number above 0'):
            loss(logits, logits, tau=tau)
    with pytest.raises(ValueError, match=r'got \(2, 3\) and \(2, 4\)'):
        loss(logits, torch.zeros(2, 4))
    with pytest.raises(TypeError, match=r'student must be .* got torch.int64'):
        loss(logits.long(), logits)
    with pytest.raises(RuntimeError, match='no second derivative'):
        student = torch.randn(2, 3, requires_grad=True)
        torch.autograd.grad(loss(student, logits), student, create_graph=True)


def test_clear_errors_of_settings() -> None:
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match='beta must be a finite number'):
        dist_loss(logits, logits, beta=float('nan'))
    with pytest.raises(ValueError, match='taus must hold at least one temperature'):
        multi_temperature_kd_loss(logits, logits, ())


def released_dist(s: Tensor, t: Tensor, beta: float, gamma: float) -> Tensor:
    """As in the authors' code."""

    def rho(x: Tensor, y: Tensor, dim: int) -> Tensor:
        x, y = x - x.mean(dim, keepdim=True), y - y.mean(dim, keepdim=True)
        return (x * y).sum(dim) / (x.norm(dim=dim) * y.norm(dim=dim) + 1e-8)

    q, p = s.softmax(1), t.softmax(1)
    return beta * (1 - rho(q, p, 1).mean()) + gamma * (1 - rho(q, p, 0).mean())


@pytest.mark.parametrize('weights', [(1.0, 0.0), (0.0, 1.0)], ids=['row', 'class'])
@pytest.mark.parametrize('shape', [(64, 2), (2, 2), (2, 10), (3, 3), (1, 2)])
@pytest.mark.parametrize('std', [1e-5, 1e-3, 0.1, 3.0])
@pytest.mark.parametrize('offset', [0.0, 20.0])
def test_dist_in_float32_is_as_accurate_as_the_released_formula(
    weights: tuple[float, float], shape: tuple[int, int], std: float, offset: float
) -> None:
    """Of two classes or rows, where the true gradient is nearly 0, and near ones."""
    dim = 1 if weights[0] else 0
    errors: dict[str, list[float]] = {'theirs': [0.0], 'mine': [0.0]}
    largest = 0.0
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        near = offset + std * torch.randn(shape, generator=generator)
        far = 3 * torch.randn(shape, generator=generator)
        for pair in ((near, far), (far, near), (near, far * std / 3)):
            soft = [x.softmax(1) for x in pair]
            if any((x.amax(dim) == x.amin(dim)).any() for x in soft):
                continue  # ours has no gradient there, and theirs a huge one
            wide = [x.double() for x in pair]
            loss = partial(released_dist, beta=weights[0], gamma=weights[1])
            _, expected = value_and_grad(loss, *wide)
            largest = max(largest, expected.abs().max().item())
            mine = partial(dist_loss, beta=weights[0], gamma=weights[1])
            for name, form in (('theirs', loss), ('mine', mine)):
                _, grad = value_and_grad(form, *pair)
                errors[name].append((grad.double() - expected).abs().max().item())
    assert max(errors['mine']) <= 10 * max(errors['theirs']) + 1e-7 * largest + 1e-9


def test_dist_of_many_rows_alike_is_that_of_a_constant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Means of a class that are rounded in parts do not make it vary."""
    for rows in (10_000, 131_072):
        for size in (2**18, 10_000):
            monkeypatch.setattr(_closed_form, '_CPU_CHUNK', size)
            student = torch.randn(1, 2).expand(rows, 2)
            teacher = torch.randn(rows, 2)
            value, grad = value_and_grad(partial(dist_loss, beta=0.0), student, teacher)
            assert value == 1 and not grad.any()
