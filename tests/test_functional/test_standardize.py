from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import (
    kd_loss,
    normkd_loss,
    scale_by_std,
    standardize,
    standardize_classes,
)

DATA = Path(__file__).parents[1] / 'data'


@pytest.mark.parametrize('file', ['logit_losses_c100.npz', 'logit_losses_c19.npz'])
def test_equals_the_recorded_numbers_in_front_of_kd(file: str) -> None:
    data = np.load(DATA / file)
    student = torch.tensor(data['student'], requires_grad=True)
    teacher = torch.tensor(data['teacher'])
    loss = kd_loss(standardize(student), standardize(teacher), 2.0)
    loss.backward()
    np.testing.assert_allclose(loss.item(), data['kd_standardized_T2'], rtol=1e-9)
    np.testing.assert_allclose(student.grad, data['kd_standardized_T2_grad'], atol=1e-9)


def test_equals_the_definition() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64) * 30 + 4
    z = logits.numpy()
    std = z.std(axis=1, ddof=1, keepdims=True)
    expected = (z - z.mean(axis=1, keepdims=True)) / (1e-7 + std)
    np.testing.assert_allclose(standardize(logits), expected, rtol=1e-12)


def test_gradcheck() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(standardize, logits)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_constant_rows_and_large_numbers_are_finite(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    logits = torch.tensor([[3, 3, 3], [top, top, top], [top, -top, 0]], dtype=dtype)
    logits.requires_grad_()
    z = standardize(logits)
    (z * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert z.dtype == torch.float32
    torch.testing.assert_close(
        z, torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, -1, 0]]), rtol=1e-6, atol=0
    )
    assert logits.grad.isfinite().all()
    assert (logits.grad[:2] == 0).all()


def deviations(z: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations from the mean of a row, and their standard deviation, in float64."""
    off = z.double() - z.double().mean(1, keepdim=True)
    return off, (off.square().sum(1, keepdim=True) / (z.shape[1] - 1)).sqrt()


def z_scores(z: Tensor) -> Tensor:
    off, std = deviations(z)
    return off / (1e-7 + std)


DEFINITIONS: dict[str, tuple[Callable, Callable]] = {
    'standardize': (
        standardize,
        lambda z: deviations(z)[0] / (1e-7 + deviations(z)[1]),
    ),
    'scale_by_std': (lambda z: scale_by_std(z)[0], lambda z: z / deviations(z)[1]),
    'standardize_classes': (
        standardize_classes,
        lambda z: (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt(),
    ),
}


def value_and_grad(scale: Callable, z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    value = scale(leaf)
    (value * weight.to(value.dtype)).sum().backward()
    return value.detach().double(), leaf.grad.double()


@pytest.mark.parametrize('name', DEFINITIONS)
@pytest.mark.parametrize('shape', [(1, 3), (1, 100), (6, 3), (6, 1000)])
@pytest.mark.parametrize(
    ('offset', 'noise', 'dtype'),
    [
        (0, 1, torch.float32),
        (1e4, 1e-2, torch.float32),
        (-1e4, 1.0, torch.float32),
        (0.7, 1e-6, torch.float32),
        (0, 1e-30, torch.float32),
        (0, 1e30, torch.float32),
        (1000, 1, torch.float16),
        (0, 1e-4, torch.float16),
        (100, 0.5, torch.bfloat16),
    ],
)
def test_rows_that_hardly_vary_lose_no_digit(
    name: str, shape: tuple[int, int], offset: float, noise: float, dtype: torch.dtype
) -> None:
    """Each number, however the mean of its row or class is rounded."""
    generator = torch.Generator().manual_seed(2)
    # No row or class is constant in the narrowest dtype.
    steps = torch.randn(shape, generator=generator)
    z = (offset + noise * (steps + 3 * steps.sign())).to(dtype)
    weight = torch.randn(shape, generator=generator)
    weight -= weight.mean(1, keepdim=True)
    mine, definition = DEFINITIONS[name]
    if name == 'standardize_classes' and (noise == 1e30 or len(z) == 1):
        return  # the definition overflows, or is 0
    value, grad = value_and_grad(mine, z, weight)
    expected, slopes = value_and_grad(definition, z.double(), weight)
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=2e-6)
    # The gradient in half precision, and that of a large offset, is itself rounded.
    digits = max(torch.finfo(dtype).eps, 2e-6)
    if name == 'scale_by_std':
        digits *= 1 + abs(offset) / noise / 100
    scale = slopes.abs().max().item()
    torch.testing.assert_close(grad, slopes, rtol=0, atol=digits * scale)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('shape', [(1, 2), (1, 7), (1, 1000), (5, 19)])
def test_a_constant_row_becomes_zeros_and_gets_no_gradient(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(shape, generator=generator)
    for number in torch.randn(20, generator=generator):
        constant = number.to(dtype).expand(shape)
        for name in ('standardize', 'scale_by_std'):
            value, grad = value_and_grad(DEFINITIONS[name][0], constant, teacher)
            assert not value.any() and not grad.any()
        _, std = scale_by_std(constant)
        assert not std.any()
        for pair in ((constant, teacher), (teacher, constant)):
            leaf = pair[0].float().clone().requires_grad_()
            loss = normkd_loss(leaf, pair[1].to(dtype))
            loss.backward()
            assert loss.isfinite() and not leaf.grad.any()


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match=r'at least 2 classes, but got \(4, 1\)'):
        standardize(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r'got \(4,\)'):
        standardize(torch.zeros(4))
    with pytest.raises(TypeError, match='int64'):
        standardize(torch.zeros(4, 2, dtype=torch.int64))


def test_scale_by_std_equals_the_definition() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64) * 30 + 4
    scaled, std = scale_by_std(logits)
    expected = logits.numpy().std(axis=1, ddof=1, keepdims=True)
    np.testing.assert_allclose(std, expected, rtol=1e-12)
    np.testing.assert_allclose(scaled, logits.numpy() / expected, rtol=1e-12)


def test_scale_by_std_differs_from_a_z_score_by_a_number_a_row() -> None:
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    own, other = scale_by_std(student)[0], scale_by_std(teacher)[0]
    loss = kd_loss(standardize(student), standardize(teacher), 2.0)
    torch.testing.assert_close(kd_loss(own, other, 2.0), loss, rtol=1e-6, atol=0)


def test_standardize_classes_equals_the_definition() -> None:
    logits = torch.randn(9, 4, dtype=torch.float64) * 3 - 7
    z = logits.numpy()
    expected = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)
    np.testing.assert_allclose(standardize_classes(logits), expected, rtol=1e-11)


def test_standardize_classes_gives_the_gradient_of_autograd() -> None:
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, dtype=torch.float64)
    (grad,) = torch.autograd.grad((standardize_classes(logits) * weight).sum(), logits)
    var = logits.var(0, unbiased=False)
    naive = (logits - logits.mean(0)) / torch.sqrt(var + 1e-5)
    (expected,) = torch.autograd.grad((naive * weight).sum(), logits)
    torch.testing.assert_close(grad, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize('scale', [lambda z: scale_by_std(z)[0], standardize_classes])
def test_gradcheck_of_the_others(scale: Callable[[Tensor], Tensor]) -> None:
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scale, logits)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_the_others_are_finite_too(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    rows = torch.tensor([[3, 3, 3], [top, top, top], [top, -top, 0]], dtype=dtype)
    for logits in (rows, rows.t()):
        for scale in (lambda z: scale_by_std(z)[0], standardize_classes):
            leaf = logits.clone().requires_grad_()
            z = scale(leaf)
            (z * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
            assert z.dtype == torch.float32 and z.isfinite().all()
            assert leaf.grad.isfinite().all()
    constant = torch.full((3, 4), 5.0, dtype=dtype)
    assert not scale_by_std(constant)[0].any()
    assert not standardize_classes(constant).any()


def test_what_is_not_finite_does_not_become_finite() -> None:
    for bad in (float('nan'), float('inf'), -float('inf')):
        logits = torch.randn(4, 3)
        logits[2, 1] = bad
        for scale in (standardize, standardize_classes):
            assert not scale(logits)[2].isfinite().all()
        assert not scale_by_std(logits)[0][2].isfinite().all()


@pytest.mark.filterwarnings('error')
def test_no_rows() -> None:
    empty = torch.zeros(0, 3, requires_grad=True)
    for z in (standardize(empty), scale_by_std(empty)[0], standardize_classes(empty)):
        assert z.shape == (0, 3) and z.requires_grad


def test_clear_errors_of_the_others() -> None:
    with pytest.raises(ValueError, match=r'at least 2 classes, but got \(4, 1\)'):
        scale_by_std(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r'\(rows, classes\), but got \(4,\)'):
        standardize_classes(torch.zeros(4))
    with pytest.raises(TypeError, match='int64'):
        standardize_classes(torch.zeros(4, 2, dtype=torch.int64))
