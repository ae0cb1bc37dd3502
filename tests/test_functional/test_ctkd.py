"""KD with a gradient for its temperature."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import _closed_form, ctkd_loss, kd_loss


def naive(student: Tensor, teacher: Tensor, tau: Tensor) -> Tensor:
    """The formula in PyTorch's own operators."""
    p = (teacher / tau).softmax(1)
    log_ratio = (teacher / tau).log_softmax(1) - (student / tau).log_softmax(1)
    return tau**2 * (p * log_ratio).sum() / len(student)


def values_and_grads(loss: object, *inputs: Tensor) -> list[Tensor]:
    student, teacher, tau = (each.detach().clone() for each in inputs)
    student.requires_grad_()
    tau.requires_grad_()
    value = loss(student, teacher, tau)  # type: ignore[operator]
    return [value.detach(), *torch.autograd.grad(value, (student, tau))]


@pytest.mark.parametrize('tau', [0.5, 1.0, 15.6])
@pytest.mark.parametrize('shape', [(7, 5), (1, 2), (3, 1)])
def test_equals_the_definition(
    tau: float, shape: tuple[int, int], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [*(3 * torch.randn(2, *shape)).double(), torch.tensor(tau).double()]
    inputs = [each.to(device) for each in inputs]
    expected = values_and_grads(naive, *inputs)
    got = values_and_grads(ctkd_loss, *inputs)
    torch.testing.assert_close(got[0], kd_loss(*inputs[:2], inputs[2].item()))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', 10)
    chunked = values_and_grads(ctkd_loss, *inputs)
    torch.testing.assert_close(chunked, got, rtol=1e-11, atol=1e-15)


def test_gradcheck() -> None:
    student, teacher = torch.randn(2, 3, 6, dtype=torch.float64)
    tau = torch.tensor(1.7, dtype=torch.float64)
    inputs = student.requires_grad_(), tau.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, x: ctkd_loss(s, teacher, x), inputs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_for_all_numbers(dtype: torch.dtype) -> None:
    tau = torch.tensor(2.0)
    for top in (100.0, 6e4, torch.finfo(dtype).max):
        student = torch.tensor([[top, -top, 0], [top, 1, top]], dtype=dtype)
        teacher = torch.tensor([[-top, top, 0], [top, -top, 2]], dtype=dtype)
        value, *grads = values_and_grads(ctkd_loss, student, teacher, tau)
        assert value.isfinite() and all(grad.isfinite().all() for grad in grads)
        assert [grad.dtype for grad in grads] == [dtype, torch.float32]


def test_no_rows_and_no_gradient() -> None:
    tau = torch.tensor(2.0)
    none = torch.zeros(0, 5)
    value, _, slope = values_and_grads(ctkd_loss, none, none, tau)
    assert value == slope == 0
    student, teacher = torch.randn(2, 3, 4)
    assert not ctkd_loss(student, teacher, tau).requires_grad
    assert ctkd_loss(student, teacher, tau.clone().requires_grad_()).requires_grad


def test_clear_errors() -> None:
    logits, tau = torch.zeros(2, 3), torch.tensor(2.0, requires_grad=True)
    with pytest.raises(TypeError, match='tau must be a floating point tensor'):
        ctkd_loss(logits, logits, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'one number, of shape \(\), but got \(1,\)'):
        ctkd_loss(logits, logits, torch.ones(1))
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(ctkd_loss(logits, logits, tau), tau, create_graph=True)
