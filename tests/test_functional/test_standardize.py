from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd_logit.functional import kd_loss, standardize

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


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match=r'at least 2 classes, but got \(4, 1\)'):
        standardize(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r'got \(4,\)'):
        standardize(torch.zeros(4))
    with pytest.raises(TypeError, match='int64'):
        standardize(torch.zeros(4, 2, dtype=torch.int64))
