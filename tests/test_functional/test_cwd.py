"""Channel-wise distillation of logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import _closed_form, cwd_loss


def naive(student: Tensor, teacher: Tensor, image: Tensor, tau: float) -> Tensor:
    """Image by image, channel by channel."""
    images, classes, total = image.unique(), student.shape[1], 0.0
    for each in images:
        for c in range(classes):
            s, t = (x[image == each, c] / tau for x in (student, teacher))
            p = t.softmax(0)
            total = total + (p * (t.log_softmax(0) - s.log_softmax(0))).sum()
    return tau**2 * total / (len(images) * classes)


def released(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Of whole maps (N, C, H, W), in PyTorch's own operators."""
    log_q = (student.flatten(2) / tau).log_softmax(2)
    p = (teacher.flatten(2) / tau).softmax(2)
    total = torch.nn.functional.kl_div(log_q, p, reduction='sum')
    return tau**2 * total / (student.shape[0] * student.shape[1])


def value_and_grad(student: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    student = student.detach().clone().requires_grad_()
    value = cwd_loss(student, *args)  # type: ignore[arg-type]
    value.backward()
    assert student.grad is not None
    return value.detach(), student.grad


@pytest.mark.parametrize('tau', [0.5, 4.0])
@pytest.mark.parametrize('classes', [1, 2, 5])
@pytest.mark.parametrize('chunk', [4, 2**18])
def test_equals_the_definition(
    tau: float,
    classes: int,
    chunk: int,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', chunk)
    student, teacher = 5 * torch.randn(2, 13, classes, dtype=torch.float64)
    for image in (
        torch.tensor([0] * 6 + [1] * 1 + [3] * 6),
        torch.tensor([2, 0] * 6 + [7]),
        torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]),
        torch.zeros(13, dtype=torch.int32),
    ):
        leaf = student.clone().requires_grad_()
        expected = naive(leaf, teacher, image, tau)
        (slope,) = torch.autograd.grad(expected, leaf)
        there = [x.to(device) for x in (student, teacher, image)]
        value, grad = value_and_grad(*there, tau)
        torch.testing.assert_close(value.cpu(), expected.detach(), rtol=1e-10, atol=0)
        torch.testing.assert_close(grad.cpu(), slope, rtol=1e-9, atol=1e-14)


def test_equals_the_released_form_on_whole_maps() -> None:
    student, teacher = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    rows = [x.permute(0, 2, 3, 1).flatten(0, 2) for x in (student, teacher)]
    image = torch.arange(3).repeat_interleave(30)
    torch.testing.assert_close(
        cwd_loss(*rows, image, 4.0), released(student, teacher, 4.0)
    )


def test_gradcheck() -> None:
    student, teacher = torch.randn(2, 6, 3, dtype=torch.float64)
    image = torch.tensor([0, 0, 1, 1, 1, 0])
    assert torch.autograd.gradcheck(
        lambda s: cwd_loss(s, teacher, image, 1.7), student.requires_grad_()
    )


def test_rows_of_their_own_and_shifts_of_a_channel_do_not_count() -> None:
    student, teacher = torch.randn(2, 6, 3)
    value, grad = value_and_grad(student, teacher, torch.arange(6))
    assert value == 0 and not grad.any()
    image = torch.tensor([0, 0, 0, 1, 1, 1])
    shift = torch.tensor([1.0, -2.0, 0.5])
    first = cwd_loss(student, teacher, image)
    torch.testing.assert_close(cwd_loss(student + shift, teacher, image), first)
    value, grad = value_and_grad(teacher, teacher, image)
    assert value == 0 and not grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_for_the_largest_numbers(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    student = torch.tensor([[top, -top, 0], [-top, 1, top]], dtype=dtype)
    teacher = torch.tensor([[-top, top, 0], [top, -top, 2]], dtype=dtype)
    for tau in (0.5, 4.0):
        value, grad = value_and_grad(student, teacher, torch.zeros(2).long(), tau)
        assert value.isfinite() and grad.isfinite().all()


def test_no_rows() -> None:
    none = torch.zeros(0, 5)
    value, grad = value_and_grad(none, none, torch.zeros(0).long())
    assert value == 0 and grad.shape == (0, 5)


def test_clear_errors() -> None:
    logits, image = torch.zeros(2, 3), torch.zeros(2).long()
    with pytest.raises(ValueError, match='tau must be a finite number above 0'):
        cwd_loss(logits, logits, image, 0.0)
    with pytest.raises(TypeError, match='image must hold integers'):
        cwd_loss(logits, logits, image.float())
    with pytest.raises(ValueError, match=r'the shape \(2,\), .* got \(3,\)'):
        cwd_loss(logits, logits, torch.zeros(3).long())
    with pytest.raises(ValueError, match='Flatten'):
        cwd_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), image)
