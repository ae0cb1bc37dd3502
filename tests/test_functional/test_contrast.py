"""The three contrastive losses of MCLD against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from mmkd_logit.functional import (
    category_contrast_loss,
    contrast,
    instance_contrast_loss,
    sample_contrast_loss,
)

N, C, K = 7, 5, 11
TAU = 0.2
TARGET = torch.tensor([0, 3, 0, 1, 3, 0, 4])
HALF_AND_SINGLE = (torch.float16, torch.bfloat16, torch.float32)

Loss = Callable[..., Tensor]


def losses(
    rows: int = N, classes: int = C, dtype: torch.dtype = torch.float64
) -> dict[str, Loss]:
    """Each loss as a function of student and teacher."""
    generator = torch.Generator().manual_seed(1)
    queue = torch.randn(K, classes, generator=generator).to(dtype)
    mask = torch.rand(rows, K, generator=generator) < 0.7
    target = TARGET.repeat(1 + rows // N)[:rows]
    return {
        'instance': partial(instance_contrast_loss, queue=queue),
        'instance, masked': partial(
            instance_contrast_loss, queue=queue, queue_mask=mask
        ),
        'sample': sample_contrast_loss,
        'category': partial(category_contrast_loss, target=target),
    }


every_loss = pytest.mark.parametrize('name', losses())


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def query(rows: np.ndarray, tau: float) -> np.ndarray:
    """The student's rows; short ones are not divided by their length."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length < 1 / tau, rows * tau, rows / np.maximum(length, 1e-300))


def naive_instance(s, t, queue, mask=None, tau=0.2) -> float:
    total = 0.0
    for i in range(len(s)):
        scores = [query(s, tau)[i] @ unit(t)[i] / tau]
        for k in range(len(queue)):
            if mask is None or mask[i, k]:
                scores.append(query(s, tau)[i] @ unit(queue)[k] / tau)
        total += logsumexp(scores) - scores[0]
    return total / len(s)


def naive_sample(s, t, tau=0.2) -> float:
    scores = query(s, tau) @ unit(t).T / tau
    return np.mean(logsumexp(scores, axis=1) - np.diag(scores))


def naive_category(s, t, y, tau=0.2) -> float:
    scores = query(s, tau) @ unit(t).T / tau
    each = []
    for i in range(len(s)):
        positives = [p for p in range(len(s)) if y[p] == y[i] and p != i]
        negatives = [scores[i, n] for n in range(len(s)) if y[n] != y[i]]
        terms = [
            scores[i, p] - logsumexp([scores[i, p], *negatives]) for p in positives
        ]
        if terms:
            each.append(np.mean(terms))
    return -np.mean(each) if each else 0.0


def pair(rows: int = N, classes: int = C) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, rows, classes, dtype=torch.float64) * 3
    return student.requires_grad_(), teacher


@pytest.mark.parametrize('tau', [0.05, 0.2, 1.0])
@pytest.mark.parametrize('chunk', [8, 2**22])
def test_equals_the_definition(
    tau: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, '_CHUNK', chunk)
    student, teacher = pair()
    s, t = student.detach().numpy(), teacher.numpy()
    queue = torch.randn(K, C, dtype=torch.float64)
    mask = torch.rand(N, K) < 0.6
    mask[2] = False
    for got, expected in [
        (
            instance_contrast_loss(student, teacher, queue, tau=tau),
            naive_instance(s, t, queue.numpy(), tau=tau),
        ),
        (
            instance_contrast_loss(student, teacher, queue, mask, tau),
            naive_instance(s, t, queue.numpy(), mask.numpy(), tau),
        ),
        (sample_contrast_loss(student, teacher, tau), naive_sample(s, t, tau)),
        (
            category_contrast_loss(student, teacher, TARGET, tau),
            naive_category(s, t, TARGET.numpy(), tau),
        ),
    ]:
        np.testing.assert_allclose(got.item(), expected, rtol=1e-11)


@every_loss
@pytest.mark.parametrize('chunk', [8, 2**22])
def test_gradcheck(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, '_CHUNK', chunk)
    student, teacher = pair()
    loss = losses()[name]
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)


@every_loss
def test_only_directions_count(name: str) -> None:
    student, teacher = pair()
    student = 10 * student / student.norm(dim=1, keepdim=True)
    scale = torch.rand(N, 1, dtype=torch.float64) * 100 + 1
    loss = losses()[name]
    torch.testing.assert_close(loss(student * scale, teacher), loss(student, teacher))
    torch.testing.assert_close(loss(student, teacher * scale), loss(student, teacher))


@pytest.mark.parametrize('offset', [0, 2])
def test_rows_of_a_larger_batch(offset: int) -> None:
    """The mean over parts of the batch is the mean over the whole."""
    student, teacher = pair()
    part = slice(offset, offset + 3)
    rows = query(student.detach().numpy(), TAU)
    scores = (rows @ unit(teacher.numpy()).T / TAU)[part]
    expected = logsumexp(scores, axis=1) - np.diagonal(scores, offset)
    got = sample_contrast_loss(student[part], teacher, offset=offset)
    np.testing.assert_allclose(got.item(), expected.mean(), rtol=1e-12)

    parts = [slice(0, 2), slice(2, 2), slice(2, 7)]
    rows = [int((contrast.class_sizes(TARGET)[p] > 1).sum()) for p in parts]
    assert rows == [2, 0, 3]
    total = sum(
        n * category_contrast_loss(student[p], teacher, TARGET, offset=p.start)
        for n, p in zip(rows, parts)
    )
    whole = category_contrast_loss(student, teacher, TARGET)
    torch.testing.assert_close(total / sum(rows), whole, rtol=1e-12, atol=0)


def test_an_empty_queue_and_a_fully_masked_row_give_zero() -> None:
    student, teacher = pair()
    empty = instance_contrast_loss(student, teacher, teacher[:0])
    masked = instance_contrast_loss(
        student, teacher, teacher, torch.zeros(N, N, dtype=torch.bool)
    )
    for loss in (empty, masked):
        (grad,) = torch.autograd.grad(loss, student)
        assert loss == 0 and torch.equal(grad, torch.zeros(N, C))


def test_a_class_of_one_adds_nothing_to_the_category_loss() -> None:
    student, teacher = pair()
    loss = category_contrast_loss(student, teacher, torch.arange(N))
    (grad,) = torch.autograd.grad(loss, student)
    assert loss == 0 and torch.equal(grad, torch.zeros(N, C))
    loss = category_contrast_loss(student, teacher, TARGET)
    (grad,) = torch.autograd.grad(loss, student)
    alone = torch.tensor([False, False, False, True, False, False, True])
    assert torch.equal((grad == 0).all(1), alone)


def test_one_class_has_no_negatives() -> None:
    student, teacher = pair()
    loss = category_contrast_loss(student, teacher, torch.zeros(N, dtype=torch.int64))
    (grad,) = torch.autograd.grad(loss, student)
    assert loss == 0 and torch.equal(grad, torch.zeros(N, C))


@every_loss
@pytest.mark.parametrize('dtype', HALF_AND_SINGLE, ids=str)
def test_finite_for_every_direction(name: str, dtype: torch.dtype) -> None:
    values = torch.linspace(-100, 100, 41)
    student = torch.cartesian_prod(values, values)
    teacher = student[torch.randperm(len(student))]
    student = student.to(dtype).requires_grad_()
    loss = losses(len(student), 2, dtype)[name](student, teacher.to(dtype))
    loss.backward()
    assert (student == 0).all(1).sum() == 1
    assert loss.dtype == torch.float32
    assert loss.isfinite() and loss > 0
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize('dtype', [*HALF_AND_SINGLE, torch.float64], ids=str)
def test_finite_for_the_largest_and_the_smallest_numbers(
    name: str, dtype: torch.dtype
) -> None:
    top, tiny = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
    values = torch.tensor([0, tiny, -tiny, 20 * tiny, 1, -top, top], dtype=dtype)
    student = torch.stack([values, values.flip(0), values.roll(1)], 1)
    teacher = student.roll(2, 0)
    student.requires_grad_()
    loss = losses(N, 3, dtype)[name](student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize('size', [4.0, 30.0, 1000.0])
def test_many_small_logits_are_a_direction(dtype: torch.dtype, size: float) -> None:
    """Also where each of them is smaller than the shortest row that has one."""
    logits = torch.randn(4, 900).sign() * size * torch.finfo(dtype).tiny
    student = logits.to(dtype).requires_grad_()
    teacher = torch.randn(4, 900).to(dtype)
    loss = sample_contrast_loss(student, teacher)
    (grad,) = torch.autograd.grad(loss, student)
    wide = student.detach().double().requires_grad_()
    expected = sample_contrast_loss(wide, teacher.double())
    (expected_grad,) = torch.autograd.grad(expected, wide)
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-5)
    error = (grad.double() - expected_grad).norm() / expected_grad.norm()
    assert error < 1e-3


@every_loss
@pytest.mark.parametrize('dtype', HALF_AND_SINGLE, ids=str)
@pytest.mark.parametrize('size', [1.0, 9e-4, 6e-5, 2e-7])
def test_the_size_of_a_key_does_not_count(
    name: str, dtype: torch.dtype, size: float
) -> None:
    """As long as its dtype holds it: what is compared is in float32."""
    student, teacher = (x.detach() for x in pair())
    teacher = (size * teacher).to(dtype)
    loss = losses(dtype=dtype)[name]
    got, expected = [], []
    for into, keys, queries in (
        (got, teacher, student.float()),
        (expected, teacher.double(), student),
    ):
        leaf = queries.clone().requires_grad_()
        value = loss(leaf, keys)
        into += [value.detach().double(), *torch.autograd.grad(value, leaf)]
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got[1].double(), expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('dtype', [*HALF_AND_SINGLE, torch.float64], ids=str)
def test_a_direction_has_the_norm_1_or_0(dtype: torch.dtype) -> None:
    numbers = torch.finfo(dtype)
    sizes = [numbers.tiny * numbers.eps, numbers.tiny, 1.0, numbers.max]
    rows = torch.tensor([[0, 0, 0], *([s, -s, s] for s in sizes)], dtype=dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    unit, length = contrast.direction(rows, wide)
    sign = torch.tensor([1.0, -1.0, 1.0], dtype=wide) / 3**0.5
    torch.testing.assert_close(unit[1:], sign.expand(4, 3))
    assert not unit[0].any()
    torch.testing.assert_close(length[2:4, 0], rows[2:4, 0].to(wide) * 3**0.5)


def test_a_row_of_zeros_is_similar_to_nothing_and_moves_as_a_short_one() -> None:
    student, teacher = torch.zeros(2, 3, requires_grad=True), torch.eye(3)[:2]
    loss = sample_contrast_loss(student, teacher, tau=0.5)
    loss.backward()
    np.testing.assert_allclose(loss.item(), np.log(2), rtol=1e-6)
    # Half the negative's direction less half its own, of a mean of two.
    expected = torch.tensor([[-0.25, 0.25, 0.0], [0.25, -0.25, 0.0]])
    torch.testing.assert_close(student.grad, expected)
    key = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    loss = sample_contrast_loss(key, key, tau=0.5)
    np.testing.assert_allclose(
        loss.item(), (np.log1p(np.exp(-2)) + np.log(2)) / 2, rtol=1e-6
    )


@every_loss
@pytest.mark.parametrize('length', [1e-6, 0.1, 0.9, 1.1, 30.0])
def test_short_rows_keep_their_length_which_bounds_their_gradient(
    name: str, length: float
) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, N, C, dtype=torch.float64)
    student = length / TAU * student / student.norm(dim=1, keepdim=True)
    leaf = student.clone().requires_grad_()
    value = losses(N)[name](leaf, teacher)
    (grad,) = torch.autograd.grad(value, leaf)
    # What is divided by hand is below that length, and divided by it once more.
    leaf = student.clone().requires_grad_()
    unit = leaf / leaf.norm(dim=1, keepdim=True).clamp(min=1 / TAU)
    stretched = losses(N)[name](unit / TAU * (1 - 1e-12), teacher)
    torch.testing.assert_close(value, stretched, rtol=1e-9, atol=0)
    (expected,) = torch.autograd.grad(stretched, leaf)
    torch.testing.assert_close(grad, expected, rtol=1e-6, atol=1e-9)
    # Each similarity has a gradient of 1 at most, in a mean over rows.
    sizes = grad.norm(dim=1) * (grad != 0).any(1).sum()
    assert sizes.max() <= 2 / max(1.0, length) + 1e-9


def test_a_queue_in_half_precision_is_compared_in_single() -> None:
    student, teacher = pair()
    queue = torch.randn(K, C).half()
    loss = instance_contrast_loss(student.float(), teacher.float(), queue)
    expected = naive_instance(
        student.detach().numpy(), teacher.numpy(), queue.double().numpy()
    )
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)


@every_loss
def test_on_a_gpu(name: str, device: str) -> None:
    student, teacher = pair()
    loss = losses()[name]
    expected = loss(student, teacher)
    (expected_grad,) = torch.autograd.grad(expected, student)
    if isinstance(loss, partial):
        moved = {key: value.to(device) for key, value in loss.keywords.items()}
        loss = partial(loss.func, **moved)
    there = student.detach().to(device).requires_grad_()
    value = loss(there, teacher.to(device))
    (grad,) = torch.autograd.grad(value, there)
    torch.testing.assert_close(value.cpu(), expected)
    torch.testing.assert_close(grad.cpu(), expected_grad)


@every_loss
def test_no_rows_give_a_zero_that_keeps_the_graph(name: str) -> None:
    student = torch.zeros(0, C, requires_grad=True)
    loss = losses(0)[name](student, torch.zeros(0, C))
    loss.backward()
    assert loss == 0
    assert student.grad.shape == (0, C)


@every_loss
def test_inputs_are_left_alone_and_the_teacher_gets_no_gradient(name: str) -> None:
    student, teacher = pair()
    before = student.detach().clone(), teacher.clone()
    loss = losses()[name]
    loss(student, teacher.requires_grad_()).backward()
    assert teacher.grad is None
    assert torch.equal(student, before[0]) and torch.equal(teacher, before[1])
    narrow = student.detach().t().contiguous().t()
    torch.testing.assert_close(loss(narrow, teacher), loss(student, teacher))


@every_loss
def test_autocast_does_not_narrow_the_maths(name: str) -> None:
    student, teacher = (each.detach().float() for each in pair())
    loss = losses(dtype=torch.float32)[name]
    with torch.autocast('cpu', torch.bfloat16):
        got = loss(student, teacher)
    torch.testing.assert_close(got, loss(student, teacher), rtol=0, atol=0)


@every_loss
def test_second_derivatives_are_refused(name: str) -> None:
    student, teacher = pair()
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(
            losses()[name](student, teacher), student, create_graph=True
        )


@every_loss
def test_clear_errors(name: str) -> None:
    student, teacher = pair()
    loss = losses()[name]
    for tau in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='tau must be a finite number above 0'):
            loss(student, teacher, tau=tau)
    with pytest.raises(ValueError, match=r'got \(7, 5\) and \(7, 4\)'):
        loss(student, teacher[:, 1:])
    with pytest.raises(TypeError, match='student must be'):
        loss(student.long(), teacher)


def test_clear_errors_of_queue_target_and_offset() -> None:
    student, teacher = pair()
    with pytest.raises(ValueError, match=r'shape \(entries, 5\).* got \(7, 4\)'):
        instance_contrast_loss(student, teacher, teacher[:, 1:])
    with pytest.raises(ValueError, match=r'shape \(7, 7\).* got \(7, 3\)'):
        mask = torch.ones(7, 3, dtype=torch.bool)
        instance_contrast_loss(student, teacher, teacher, mask)
    with pytest.raises(TypeError, match=r'booleans, but got torch\.float32'):
        instance_contrast_loss(student, teacher, teacher, torch.ones(7, 7))
    with pytest.raises(TypeError, match=r'class indices, but got torch\.float32'):
        category_contrast_loss(student, teacher, TARGET.float())
    with pytest.raises(ValueError, match=r'shape \(7,\).* got \(6,\)'):
        category_contrast_loss(student, teacher, TARGET[1:])
    with pytest.raises(ValueError, match='do not fit into the 7 .* from row 1 on'):
        sample_contrast_loss(student, teacher, offset=1)
