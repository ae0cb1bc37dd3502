from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmkd_logit.functional import (
    align_gradients,
    binary_kl_norm_loss,
    gradient_cosine,
)

RECORDED = np.load(Path(__file__).parents[1] / 'data' / 'grad_align.npz')


def recorded(name: str) -> Tensor:
    return torch.from_numpy(RECORDED[name])


def textbook(task: list[Tensor], distill: list[Tensor]) -> list[Tensor]:
    """The same in float64, on one flat vector."""
    a = torch.cat([grad.double().flatten() for grad in task])
    b = torch.cat([grad.double().flatten() for grad in distill])
    if a @ b < 0:
        b = b - (a @ b) / (a @ a) * a
    parts = (a + b).split([grad.numel() for grad in task])
    return [part.view_as(grad) for part, grad in zip(parts, task)]


def gradients(device: str = 'cpu', dtype: torch.dtype = torch.float64) -> tuple:
    """Of three parameters, in conflict."""
    shapes = [(3, 4), (5,), ()]
    task = [torch.randn(shape, device=device, dtype=dtype) for shape in shapes]
    return task, [torch.randn_like(grad) - grad for grad in task]


def test_authors_training() -> None:
    body, head, aux = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(5, 4)
    net = nn.ModuleDict(dict(body=body, head=head, aux=aux)).double()
    net.load_state_dict({name: recorded(f'init.{name}') for name in net.state_dict()})
    params = dict(net.named_parameters())
    optimizer = torch.optim.SGD(
        params.values(), lr=0.5, momentum=0.9, weight_decay=5e-4
    )
    for step in range(12):
        feature = torch.tanh(body(recorded('x')))
        task_loss = cross_entropy(head(feature), recorded('label'))
        distill_loss = 0.1 * binary_kl_norm_loss(aux(feature), recorded('teacher'))
        task, distill = (
            torch.autograd.grad(
                loss, list(params.values()), retain_graph=True, allow_unused=True
            )
            for loss in (task_loss, distill_loss)
        )
        shared = [a is not None and b is not None for a, b in zip(task, distill)]
        assert shared == [True, True, False, False, False, False]
        cosine = gradient_cosine(task, distill)
        assert math.copysign(1, cosine) == math.copysign(1, RECORDED['dot'][step])
        merged = dict(zip(params, align_gradients(task, distill)))
        kept = {0: 'grad0', int(RECORDED['conflict_step']): 'gradc'}.get(step)
        for name, param in params.items():
            param.grad = merged[name]
            if kept:
                expected = recorded(f'{kept}.{name}')
                torch.testing.assert_close(param.grad, expected, rtol=0, atol=1e-12)
        optimizer.step()
    for name, param in params.items():
        expected = recorded(f'final.{name}')
        torch.testing.assert_close(param.data, expected, rtol=0, atol=1e-9)


def test_no_conflict_is_the_sum() -> None:
    task, _ = gradients()
    merged = align_gradients(task, [grad / 2 for grad in task])
    assert all(torch.equal(got, grad + grad / 2) for got, grad in zip(merged, task))


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)],
)
def test_conflict(dtype: torch.dtype, tolerance: float, device: str) -> None:
    task, distill = gradients(device, dtype)
    before = [grad.clone() for grad in task + distill]
    assert gradient_cosine(task, distill) < 0
    merged = align_gradients(task, distill)
    for got, expected in zip(merged, textbook(task, distill)):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=tolerance)
    assert all(map(torch.equal, task + distill, before))


def test_merged_gradient_does_not_oppose_the_task() -> None:
    task, distill = gradients()
    merged = align_gradients(task, distill)
    rest = [got - grad for got, grad in zip(merged, task)]
    assert gradient_cosine(task, rest).abs() < 1e-12


def test_absent_gradients_are_zero() -> None:
    (a, b, c), (x, y, _) = gradients()
    zero = torch.zeros_like
    expected = textbook([a, zero(b), c], [x, y, zero(c)])
    got = align_gradients([a, None, c, None], [x, y, None, None])
    assert got[3] is None
    for part, whole in zip(got, expected):
        torch.testing.assert_close(part, whole)
    assert gradient_cosine([a, None, c], [x, y, None]) == pytest.approx(
        gradient_cosine([a, zero(b), c], [x, y, zero(c)])
    )


def test_nothing_in_common() -> None:
    one = torch.ones(2)
    assert align_gradients([one, None, None], [None, one, None]) == [one, one, None]
    assert align_gradients([], []) == []
    for task, distill in (([], []), ([one], [None]), ([one], [0 * one])):
        assert gradient_cosine(task, distill).isnan()


@pytest.mark.parametrize('large', [1e-40, 1e-30, 1e30, 3e37])
@pytest.mark.parametrize('small', [1e-40, 1e-30, 1e30, 3e37])
def test_sizes_that_float32_cannot_square(large: float, small: float) -> None:
    task, distill = gradients(dtype=torch.float64)
    task = [(grad * large).float() for grad in task]
    distill = [(grad * small).float() for grad in distill]
    merged = align_gradients(task, distill)
    expected = textbook(task, distill)
    size = max(grad.abs().max() for grad in expected)
    # Below 1e-38 a float32 has few digits.
    tolerance = 1e-5 if min(large, small) > 1e-38 else 1e-3
    for got, want in zip(merged, expected):
        assert (got.double() - want).abs().max() <= tolerance * size


def test_no_task_gradient() -> None:
    _, distill = gradients()
    merged = align_gradients([torch.zeros_like(grad) for grad in distill], distill)
    assert all(map(torch.equal, merged, distill))


@pytest.mark.parametrize('bad', [float('inf'), float('-inf'), float('nan')])
@pytest.mark.parametrize('which', [0, 1])
def test_overflow_is_not_hidden(bad: float, which: int) -> None:
    both = gradients(dtype=torch.float32)
    both[which][0][1, 2] = bad
    assert not align_gradients(*both)[0][1, 2].isfinite()


def test_bad_input() -> None:
    one = torch.ones(2)
    for fn in (align_gradients, gradient_cosine):
        with pytest.raises(ValueError, match='but got 1 and 2 of them'):
            fn([one], [one, one])
        with pytest.raises(ValueError, match=r'the shapes \(2,\) and \(1, 2\)'):
            fn([one], [one[None]])
