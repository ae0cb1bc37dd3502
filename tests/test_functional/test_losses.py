"""What holds for every loss of a pair of logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, log_softmax, softmax

from mmkd_logit.functional import (
    _closed_form,
    binary_kl_loss,
    binary_kl_norm_loss,
    kd_loss,
)

DATA = Path(__file__).parents[1] / 'data'
LOSSES = {
    'kd': kd_loss,
    'binary_kl': binary_kl_loss,
    'binary_kl_norm': binary_kl_norm_loss,
}
FIXTURES = ('logit_losses_c100.npz', 'logit_losses_c19.npz')
HALF_AND_SINGLE = (torch.float16, torch.bfloat16, torch.float32)

every_loss = pytest.mark.parametrize('name', LOSSES)


def naive(name: str, s: np.ndarray, t: np.ndarray, tau: float) -> float:
    """The definitions, term by term, in numpy."""
    s, t = s / tau, t / tau
    if name == 'kd':
        p = softmax(t, axis=1)
        return tau**2 * (p * (log_softmax(t, 1) - log_softmax(s, 1))).sum() / len(s)
    if name == 'binary_kl_norm':
        s, t = s - t, np.zeros_like(t)
    yes = expit(t) * (log_expit(t) - log_expit(s))
    no = expit(-t) * (log_expit(-t) - log_expit(-s))
    return tau**2 * (yes + no).sum() / len(s)


@every_loss
@pytest.mark.parametrize('tau', [1.0, 2.0, 4.0])
@pytest.mark.parametrize('file', FIXTURES)
def test_equals_the_recorded_numbers(
    name: str, tau: float, file: str, device: str
) -> None:
    data = np.load(DATA / file)
    key = f'{name}_T{tau:.0f}'
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        student = torch.tensor(data['student'], dtype=dtype, device=device)
        teacher = torch.tensor(data['teacher'], dtype=dtype, device=device)
        student.requires_grad_()
        loss = LOSSES[name](student, teacher, tau)
        loss.backward()
        assert loss.dtype == dtype
        np.testing.assert_allclose(loss.item(), data[key], rtol=rtol)
        grad = data[f'{key}_grad']
        np.testing.assert_allclose(
            student.grad.cpu(), grad, rtol=rtol, atol=rtol * np.abs(grad).max()
        )


@every_loss
@pytest.mark.parametrize('tau', [0.5, 1.0, 3.7])
def test_equals_the_definition(name: str, tau: float) -> None:
    student = torch.randn(7, 11, dtype=torch.float64) * 5
    teacher = torch.randn(7, 11, dtype=torch.float64) * 5
    expected = naive(name, student.numpy(), teacher.numpy(), tau)
    loss = LOSSES[name](student, teacher, tau)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-11)


@every_loss
def test_gradcheck(name: str) -> None:
    student = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher, 1.7), student)


@every_loss
def test_no_gradient_to_the_teacher(name: str) -> None:
    student = torch.randn(3, 6, requires_grad=True)
    teacher = torch.randn(3, 6, requires_grad=True)
    LOSSES[name](student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@every_loss
@pytest.mark.parametrize('dtype', HALF_AND_SINGLE, ids=str)
def test_finite_for_every_pair_of_logits(
    name: str, dtype: torch.dtype, device: str
) -> None:
    values = torch.linspace(-100, 100, 81, dtype=dtype, device=device)
    pairs = torch.cartesian_prod(values, values)
    # Two classes per row: the pair, and its mirror image.
    student = torch.stack([pairs[:, 0], pairs[:, 1]], 1).requires_grad_()
    teacher = torch.stack([pairs[:, 1], pairs[:, 0]], 1)
    loss = LOSSES[name](student, teacher)
    (loss * len(pairs)).backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite() and loss > 0
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()
    wide = pairs.double().cpu().numpy()
    expected = naive(name, wide, wide[:, ::-1], 4.0 if name == 'kd' else 2.0)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)


@every_loss
@pytest.mark.parametrize('tau', [0.1, 2.0])
@pytest.mark.parametrize('dtype', [*HALF_AND_SINGLE, torch.float64], ids=str)
def test_finite_for_the_largest_numbers(
    name: str, tau: float, dtype: torch.dtype
) -> None:
    top = torch.finfo(dtype).max
    student = torch.tensor([[top, -top, 0], [top, 1, top]], dtype=dtype)
    teacher = torch.tensor([[-top, top, 0], [top, -top, 2]], dtype=dtype)
    student.requires_grad_()
    loss = LOSSES[name](student, teacher, tau)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize('gap', [1e-12, 1e-7, 1e-3])
def test_exact_near_zero(name: str, gap: float) -> None:
    # Second order: half the squared difference, times the curvature.
    student = torch.tensor([[1.0 + gap, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    gap = (student - teacher)[0, 0].item()
    p = torch.sigmoid(teacher[0, 0]).item()
    curvature = {'kd': 0.25, 'binary_kl': p * (1 - p), 'binary_kl_norm': 0.25}[name]
    # log-softmax itself rounds to about 1e-16, which shows for tiny differences.
    loss = LOSSES[name](student, teacher, 1.0).item()
    atol = 3e-16 if name != 'binary_kl_norm' else 0
    np.testing.assert_allclose(loss, curvature * gap**2 / 2, rtol=2e-3, atol=atol)


@every_loss
def test_the_size_of_the_chunks_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = torch.randn(29, 13, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(29, 13, dtype=torch.float64)
    loss = LOSSES[name](student, teacher)
    (grad,) = torch.autograd.grad(loss, student)
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', 50)
    chunked = LOSSES[name](student, teacher)
    torch.testing.assert_close(chunked, loss, rtol=1e-14, atol=0)
    (chunked_grad,) = torch.autograd.grad(chunked, student)
    torch.testing.assert_close(chunked_grad, grad, rtol=1e-13, atol=1e-17)


@every_loss
def test_inputs_are_left_alone_and_need_not_be_contiguous(name: str) -> None:
    student, teacher = torch.randn(6, 4).t(), torch.randn(6, 4).t()
    before = student.clone(), teacher.clone()
    loss = LOSSES[name](student, teacher)
    assert torch.equal(student, before[0]) and torch.equal(teacher, before[1])
    torch.testing.assert_close(loss, LOSSES[name](*before))


@every_loss
def test_small_gradients_survive_half_precision_with_a_loss_scale(name: str) -> None:
    student = torch.zeros(100_000, 2, dtype=torch.float16)
    student[:, 0] = 0.1
    student.requires_grad_()
    loss = LOSSES[name](student, torch.zeros(100_000, 2), 1.0)
    (loss * 2.0**16).backward()
    unscaled = student.grad[:, 0].double() / 2**16
    expected = {'kd': 0.02497918, 'binary_kl': 0.02497918, 'binary_kl_norm': 0.02497918}
    np.testing.assert_allclose(unscaled * 100_000, expected[name], rtol=2e-3)


@every_loss
def test_no_rows_give_a_zero_that_keeps_the_graph(name: str) -> None:
    student = torch.zeros(0, 5, requires_grad=True)
    loss = LOSSES[name](student, torch.zeros(0, 5))
    loss.backward()
    assert loss == 0
    assert student.grad.shape == (0, 5)


@every_loss
def test_second_derivatives_are_refused(name: str) -> None:
    student = torch.randn(2, 3, requires_grad=True)
    loss = LOSSES[name](student, torch.randn(2, 3))
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(loss, student, create_graph=True)


@every_loss
def test_clear_errors(name: str) -> None:
    loss, logits = LOSSES[name], torch.zeros(2, 3)
    for tau in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='tau must be a finite number above 0'):
            loss(logits, logits, tau)
    with pytest.raises(ValueError, match=r'got \(2, 3\) and \(2, 4\)'):
        loss(logits, torch.zeros(2, 4))
    with pytest.raises(ValueError, match='Flatten'):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(TypeError, match=r'student must be .* got torch.int64'):
        loss(logits.long(), logits)
    with pytest.raises(TypeError, match='teacher must be'):
        loss(logits, [[0.0]])  # type: ignore[arg-type]


@every_loss
def test_autocast_does_not_narrow_the_maths(name: str) -> None:
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    with torch.autocast('cpu', torch.bfloat16):
        loss = LOSSES[name](student, teacher)
    torch.testing.assert_close(loss, LOSSES[name](student, teacher), rtol=0, atol=0)
