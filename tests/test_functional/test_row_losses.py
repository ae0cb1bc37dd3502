"""The row losses that the papers compare with, against their authors' numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import (
    _closed_form,
    dkd_loss,
    gkl_loss,
    kd_loss,
    nkd_loss,
    normkd_loss,
    rld_loss,
    standardize,
    ttm_loss,
    wsld_loss,
    wttm_loss,
)

DATA = Path(__file__).parents[1] / 'data'
HALF_AND_SINGLE = (torch.float16, torch.bfloat16, torch.float32)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def unlabelled(loss: Callable[..., Tensor], **settings: float) -> Loss:
    return lambda student, teacher, target: loss(student, teacher, **settings)


def labelled(loss: Callable[..., Tensor], **settings: float) -> Loss:
    return partial(loss, **settings)


def on_z_scores(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    both = standardize(student), standardize(teacher)
    return rld_loss(*both, target, alpha=9.0, beta=9.0, tau=2.0, alpha_tau=2.0)


RECORDED: dict[str, Loss] = {
    'dkd_a1_b8_T4': labelled(dkd_loss),
    'dkd_a1_b05_T1': labelled(dkd_loss, beta=0.5, tau=1.0),
    'nkd_g15_T1': labelled(nkd_loss),
    'nkd_g35_T3': labelled(nkd_loss, gamma=3.5, tau=3.0),
    'ttm_g01': unlabelled(ttm_loss),
    'wttm_g02': unlabelled(wttm_loss, gamma=0.2),
    'wttm_g05': unlabelled(wttm_loss, gamma=0.5),
    'rld_a1_b8_T4_Ta1': labelled(rld_loss),
    'rld_a1_b05_T1_Ta1': labelled(rld_loss, beta=0.5, tau=1.0),
    'rld_standardized_T2_Ta2': on_z_scores,
    'gkl_a1_b1_T1': unlabelled(gkl_loss),
    'gkl_a0_b1': unlabelled(gkl_loss, alpha=0.0),
    'wsld_T2': labelled(wsld_loss),
}

# Settings that the defaults of no paper have.
LOSSES: dict[str, Loss] = {
    'dkd': labelled(dkd_loss, alpha=0.7, beta=2.0, tau=1.7),
    'nkd': labelled(nkd_loss, gamma=1.2, tau=0.6),
    'nkd_T1': labelled(nkd_loss),
    'ttm': unlabelled(ttm_loss, gamma=1.6),
    'wttm': unlabelled(wttm_loss, gamma=0.3),
    'rld': labelled(rld_loss, alpha=1.3, beta=2.0, tau=0.7, alpha_tau=1.6),
    'wsld': labelled(wsld_loss, tau=1.7),
    'wsld_T1': labelled(wsld_loss, tau=1.0),
    'gkl': unlabelled(gkl_loss, alpha=0.6, beta=1.7, tau=0.7),
    'normkd': unlabelled(normkd_loss, tau=1.5),
}
every_loss = pytest.mark.parametrize('name', LOSSES)
not_of_deviations = pytest.mark.parametrize(
    'name', [name for name in LOSSES if name != 'normkd']
)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum()


def two(log_p: Tensor, one: int) -> Tensor:
    """Logarithms of the probabilities of a class, and of all others."""
    others = torch.cat([log_p[:one], log_p[one + 1 :]])
    return torch.stack([log_p[one], others.logsumexp(0)])


def naive_row(name: str, s: Tensor, t: Tensor, y: int) -> Tensor:
    """The definition for one row, of its formula in the docstring."""
    kind, _, tau = name.partition('_T')
    log = partial(torch.log_softmax, dim=0)
    rest = torch.arange(len(s)) != y
    if kind == 'dkd':
        pair = [two(log(x / 1.7), y) for x in (t, s)]
        others = [log(x[rest] / 1.7) for x in (t, s)]
        return 1.7**2 * (0.7 * kl(*pair) + 2.0 * kl(*others))
    if kind == 'nkd':
        gamma, tau = (1.5, 1.0) if tau else (1.2, 0.6)
        at_label = log(t)[y].exp() * log(s)[y]
        others = log(t[rest] / tau).exp() * log(s[rest] / tau)
        return -at_label - gamma * tau**2 * others.sum()
    if kind == 'ttm':
        return kl(log(1.6 * t), log(s))
    if kind == 'wttm':
        return (log(t).exp() ** 0.3).sum() * kl(log(0.3 * t), log(s))
    if kind == 'rld':
        sure = kl(two(log(t / 1.6), int(t.argmax())), two(log(s / 1.6), y))
        below = t < t[y]
        refined = kl(log(t[below] / 0.7), log(s[below] / 0.7))
        return 1.3 * 1.6**2 * sure + 2.0 * 0.7**2 * refined
    if kind == 'wsld':
        tau = float(tau or 1.7)
        ratio = -log(s.detach())[y] / (-log(t)[y] + 1e-7)
        soft = -(log(t / tau).exp() * log(s / tau)).sum()
        return tau**2 * (1 - torch.exp(-ratio)) * soft
    if kind == 'gkl':
        soft = -(log(t / 0.7).exp() * log(s / 0.7)).sum()
        weight = torch.softmax(t / 100, 0)
        gaps = (t[:, None] - t) - (s[:, None] - s)
        return 0.6 * soft + 1.7 / 4 * (weight[:, None] * weight * gaps**2).sum()
    assert kind == 'normkd'
    own = [1.5 * x.std() for x in (t, s)]
    return own[0] ** 2 * kl(log(t / own[0]), log(s / own[1]))


def naive(name: str, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    rows = [naive_row(name, *row) for row in zip(s, t, y.tolist())]
    return torch.stack(rows).mean()


def value_and_grad(
    loss: Loss, student: Tensor, teacher: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = student.detach().clone().requires_grad_()
    value = loss(leaf, teacher, target)
    (grad,) = torch.autograd.grad(value, leaf)
    return value.detach(), grad


@pytest.mark.parametrize('name', RECORDED)
@pytest.mark.parametrize('classes', [100, 19])
def test_equals_the_recorded_numbers(name: str, classes: int, device: str) -> None:
    check_recorded(f'baseline_losses_c{classes}.npz', name, RECORDED[name], device)


@pytest.mark.parametrize('classes', [100, 19])
def test_dkd_equals_those_of_another_recording(classes: int) -> None:
    file = f'logit_losses_c{classes}.npz'
    check_recorded(file, 'dkd_a1_b8_T4', dkd_loss)
    check_recorded(file, 'dkd_a1_b2_T1', labelled(dkd_loss, beta=2.0, tau=1.0))


def check_recorded(file: str, name: str, loss: Loss, device: str = 'cpu') -> None:
    data = np.load(DATA / file)
    target = torch.tensor(data['label'], device=device)
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        student = torch.tensor(data['student'], dtype=dtype, device=device)
        teacher = torch.tensor(data['teacher'], dtype=dtype, device=device)
        value, grad = value_and_grad(loss, student, teacher, target)
        assert value.dtype == dtype
        np.testing.assert_allclose(value.item(), data[name], rtol=rtol)
        slopes = data[f'{name}_grad']
        atol = rtol * np.abs(slopes).max()
        np.testing.assert_allclose(grad.cpu(), slopes, rtol=rtol, atol=atol)


@every_loss
@pytest.mark.parametrize('classes', [2, 11])
def test_equals_the_definition(name: str, classes: int) -> None:
    student, teacher = 4 * torch.randn(2, 30, classes, dtype=torch.float64)
    target = torch.randint(classes, (30,))
    value, grad = value_and_grad(LOSSES[name], student, teacher, target)
    expected, slopes = value_and_grad(partial(naive, name), student, teacher, target)
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(grad, slopes, rtol=1e-10, atol=1e-13)


@every_loss
def test_gradcheck(name: str) -> None:
    if name.startswith('wsld'):  # its weight gets no gradient, here none changes it
        target = torch.zeros(3, dtype=torch.int64)
        teacher = torch.tensor([[800.0, 0, 1, 2]] * 3, dtype=torch.float64)
    else:
        target = torch.tensor([0, 3, 1])
        teacher = torch.randn(3, 4, dtype=torch.float64)
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher, target), student)


def test_dkd_is_kd_where_beta_is_what_the_teacher_leaves() -> None:
    student, teacher = 3 * torch.randn(2, 6, 9, dtype=torch.float64)
    target = torch.randint(9, (6,))
    for tau in (1.0, 4.0):
        left = 1 - torch.softmax(teacher / tau, 1).gather(1, target[:, None])
        for row in range(6):
            part = slice(row, row + 1)
            own = student[part], teacher[part]
            beta = left[row].item()
            got = value_and_grad(
                partial(dkd_loss, beta=beta, tau=tau), *own, target[part]
            )
            expected = value_and_grad(unlabelled(kd_loss, tau=tau), *own, target[part])
            torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize('classes', [2, 5, 1000])
@pytest.mark.parametrize(('offset', 'noise'), [(1e4, 0.01), (-5, 1e-3), (0, 1e-7)])
def test_normkd_of_rows_that_hardly_vary(
    classes: int, offset: float, noise: float
) -> None:
    """Also of two classes, where its true gradient is 0."""
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        s = offset + noise * torch.randn(1, classes, generator=generator)
        t = 3 * torch.randn(1, classes, generator=generator)
        target = torch.zeros(1, dtype=torch.long)
        if s.amax() == s.amin():
            continue
        for pair in ((s, t), (t, s)):
            wide = [x.double() for x in pair]
            expected, slopes = value_and_grad(partial(naive, 'normkd'), *wide, target)
            value, grad = value_and_grad(LOSSES['normkd'], *pair, target)
            variance = wide[1].var().item()
            torch.testing.assert_close(
                value.double(), expected, rtol=1e-4, atol=1e-6 * variance
            )
            rate = variance / wide[0].std().item()
            torch.testing.assert_close(
                grad.double(), slopes, rtol=1e-4, atol=2e-6 * rate
            )


def test_gkl_equals_the_sum_over_pairs() -> None:
    student, teacher = 5 * torch.randn(2, 4, 40, dtype=torch.float64)
    weight = torch.softmax(teacher / 100, 1)
    gaps = (teacher[:, :, None] - teacher[:, None]) - (
        student[:, :, None] - student[:, None]
    )
    pairs = weight[:, :, None] * weight[:, None] * gaps.square()
    got = gkl_loss(student, teacher, alpha=0.0)
    torch.testing.assert_close(got, pairs.sum() / 4 / 4, rtol=1e-12, atol=0)


def test_rld_leaves_out_what_ties_with_the_label() -> None:
    teacher = torch.tensor([[2.0, 1.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    student = torch.randn(1, 5, dtype=torch.float64)
    got = rld_loss(student, teacher, torch.tensor([1]), alpha=0.0, beta=1.0, tau=1.0)
    expected = kd_loss(student[:, 3:], teacher[:, 3:], 1.0)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_rld_refines_nothing_where_the_teacher_puts_the_label_last() -> None:
    student, teacher = torch.randn(2, 5, 7, dtype=torch.float64)
    refine = partial(rld_loss, alpha=0.0)
    value, grad = value_and_grad(refine, student, teacher, teacher.argmin(1))
    assert value == 0 and not grad.any()
    all_tie = torch.ones_like(teacher)
    value, grad = value_and_grad(refine, student, all_tie, teacher.argmin(1))
    assert value == 0 and not grad.any()


def test_a_wttm_row_weighs_more_the_less_the_teacher_is_sure() -> None:
    student = torch.randn(1, 6, dtype=torch.float64)
    even = torch.zeros(1, 6, dtype=torch.float64)
    weight = wttm_loss(student, even, 0.5) / ttm_loss(student, even, 0.5)
    torch.testing.assert_close(weight.item(), 6**0.5)
    sure = torch.tensor([[500.0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    weight = wttm_loss(student, sure, 0.5) / ttm_loss(student, sure, 0.5)
    torch.testing.assert_close(weight.item(), 1.0)


def test_a_wsld_row_weighs_nothing_where_only_the_student_is_right() -> None:
    target = torch.tensor([0])
    right = torch.tensor([[900.0, 0.0, 0.0]])
    wrong = torch.tensor([[0.0, 900.0, 0.0]])
    value, grad = value_and_grad(wsld_loss, right, wrong, target)
    assert value == 0 and not grad.any()


@not_of_deviations
@pytest.mark.parametrize('tops', [(0, 0), (0, 1), (1, 0)])
def test_classes_that_take_all_lose_no_digit(name: str, tops: tuple[int, int]) -> None:
    """Gaps at which 1 minus a probability is 0 in float32."""
    student, teacher = torch.randn(2, 2, 5, dtype=torch.float64)
    student[:, tops[0]] += 40
    teacher[:, tops[1]] += 30
    target = torch.tensor([0, 3])
    expected, slopes = value_and_grad(partial(naive, name), student, teacher, target)
    value, grad = value_and_grad(LOSSES[name], student.float(), teacher.float(), target)
    torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=1e-7)
    atol = 1e-5 * slopes.abs().max().item() + 2e-7
    torch.testing.assert_close(grad.double(), slopes, rtol=1e-4, atol=atol)


@every_loss
@pytest.mark.parametrize('dtype', [*HALF_AND_SINGLE, torch.float64], ids=str)
def test_finite_for_the_largest_numbers(name: str, dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    student = torch.tensor([[top, -top, 0], [top, 1, top], [0, 1, 2]], dtype=dtype)
    teacher = torch.tensor([[-top, top, 0], [top, -top, 2], [top, top, 0]], dtype=dtype)
    for target in ([0, 1, 2], [1, 0, 0], [2, 2, 1]):
        value, grad = value_and_grad(
            LOSSES[name], student, teacher, torch.tensor(target)
        )
        assert value.isfinite()
        if name == 'normkd':  # as large as the variance of the teacher's logits
            grad = grad.nan_to_num(nan=torch.nan)
        assert grad.isfinite().all()


@not_of_deviations
def test_one_class_has_nothing_to_say(name: str) -> None:
    student, teacher = torch.randn(2, 4, 1)
    target = torch.zeros(4, dtype=torch.int64)
    value, grad = value_and_grad(LOSSES[name], student, teacher, target)
    assert value == 0 and not grad.any()


@every_loss
def test_ties_and_a_single_row(name: str) -> None:
    student = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    teacher = torch.tensor([[2.0, 2.0, 1.0, -1.0]], dtype=torch.float64)
    for label in range(3):
        target = torch.tensor([label])
        got = value_and_grad(LOSSES[name], student, teacher, target)
        expected = value_and_grad(partial(naive, name), student, teacher, target)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-14)


@every_loss
def test_the_size_of_the_chunks_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = torch.randn(2, 29, 13, dtype=torch.float64)
    target = torch.randint(13, (29,))
    whole = value_and_grad(LOSSES[name], student, teacher, target)
    monkeypatch.setattr(_closed_form, '_CPU_CHUNK', 50)
    chunked = value_and_grad(LOSSES[name], student, teacher, target)
    torch.testing.assert_close(chunked, whole, rtol=1e-13, atol=1e-16)


@every_loss
def test_inputs_are_left_alone(name: str) -> None:
    student, teacher = torch.randn(2, 6, 4)
    target = torch.randint(4, (6,), dtype=torch.int32)
    before = student.clone(), teacher.clone(), target.clone()
    LOSSES[name](student, teacher, target)
    assert all(map(torch.equal, (student, teacher, target), before))


@every_loss
def test_no_rows_give_a_zero_that_keeps_the_graph(name: str) -> None:
    student = torch.zeros(0, 5, requires_grad=True)
    loss = LOSSES[name](student, torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and student.grad.shape == (0, 5)


@pytest.mark.parametrize(
    'loss', [dkd_loss, nkd_loss, rld_loss, wsld_loss], ids=lambda loss: loss.__name__
)
def test_labels_are_checked(loss: Callable[..., Tensor]) -> None:
    logits = torch.zeros(3, 4)
    for bad, got in (([0, 4, 1], 4), ([0, -1, 1], -1), ([255, 0, 1], 255)):
        with pytest.raises(ValueError, match=f'classes from 0 to 3, but got {got}'):
            loss(logits, logits, torch.tensor(bad))
    with pytest.raises(ValueError, match=r'shape \(3,\), one class per row.*\(2,\)'):
        loss(logits, logits, torch.tensor([0, 1]))
    with pytest.raises(TypeError, match='class indices, but got torch.float32'):
        loss(logits, logits, torch.zeros(3))
    with pytest.raises(TypeError, match='class indices, but got torch.bool'):
        loss(logits, logits, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match='Flatten'):
        loss(logits[None], logits[None], torch.zeros(3))


def test_settings_are_checked() -> None:
    logits, target = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)
    above_0 = {
        'tau': (dkd_loss, nkd_loss, rld_loss, wsld_loss, gkl_loss, normkd_loss),
        'alpha_tau': (rld_loss,),
        'gamma': (ttm_loss, wttm_loss),
    }
    from_0 = {
        'alpha': (dkd_loss, rld_loss, gkl_loss),
        'beta': (dkd_loss, rld_loss, gkl_loss),
        'gamma': (nkd_loss,),
    }
    takes_labels = (dkd_loss, nkd_loss, rld_loss, wsld_loss)
    for settings, text in ((above_0, 'above 0'), (from_0, 'of 0 or more')):
        for name, losses in settings.items():
            for loss in losses:
                inputs = (logits, logits, *([target] if loss in takes_labels else []))
                for bad in (-1.0, float('nan'), float('inf'), 'abc', True):
                    with pytest.raises(ValueError, match=f'{name} must be.*{text}'):
                        loss(*inputs, **{name: bad})
                if settings is from_0:
                    assert loss(*inputs, **{name: 0.0}).isfinite()
