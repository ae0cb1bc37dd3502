from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import neural_collapse


def etf(classes: int, size: int) -> Tensor:
    """A simplex ETF of some classes, turned at random, in float64."""
    turned = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q
    return (torch.eye(classes, size).double() - 1 / classes)[:, :classes] @ turned[
        :classes
    ]


def rows_of(means: Tensor, each: int = 4) -> tuple[Tensor, Tensor]:
    """Every class mean several times, and the labels."""
    labels = torch.arange(len(means)).repeat(each)
    return means[labels], labels


def by_definition(features: np.ndarray, labels: np.ndarray) -> float:
    """NC1 with the (D, D) matrices and a pseudoinverse."""
    classes = np.unique(labels)
    means = np.stack([features[labels == c].mean(0) for c in classes])
    centred = means - means.mean(0)
    between = centred.T @ centred / len(classes)
    within = np.mean(
        [np.cov(features[labels == c].T, bias=True) for c in classes], axis=0
    )
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(classes)


@pytest.mark.parametrize(('classes', 'size'), [(2, 2), (5, 5), (5, 12), (100, 128)])
def test_full_collapse(classes: int, size: int, device: str) -> None:
    frame = etf(classes, size).to(device)
    features, labels = rows_of(7 * frame + 3)
    labels = labels.to(device)
    logits = (features - 3) @ frame.T
    nc = neural_collapse(features, logits, labels, 0.2 * frame)
    assert nc == pytest.approx((0, 0, 0, 0, 1), abs=1e-12)


def test_known_noise() -> None:
    classes, size, scale, sigma = 4, 6, 3.0, 0.2
    frame = scale * etf(classes, size)
    steps = sigma * torch.cat([torch.eye(size), -torch.eye(size)]).double()
    features = (frame[:, None] + steps).flatten(0, 1)
    labels = torch.arange(classes).repeat_interleave(len(steps))
    nc = neural_collapse(features, features @ frame.T, labels, frame)
    # S_W = sigma^2 / D I, and S_B = scale^2 / C times a projector of rank C - 1.
    expected = sigma**2 * (classes - 1) / (size * scale**2)
    assert nc.nc1 == pytest.approx(expected, rel=1e-10)
    assert nc[1:] == pytest.approx((0, 0, 0, 1), abs=1e-12)


@pytest.mark.parametrize(('classes', 'size'), [(3, 8), (8, 3)])
def test_nc1_equals_the_definition(classes: int, size: int) -> None:
    labels = torch.arange(classes).repeat(7)[: 7 * classes - 2]  # not all alike
    means = torch.randn(classes, size, dtype=torch.float64)
    features = means[labels] + 0.3 * torch.randn(len(labels), size).double()
    nc = neural_collapse(features, features @ means.T, labels, means)
    expected = by_definition(features.numpy(), labels.numpy())
    assert nc.nc1 == pytest.approx(expected, rel=1e-8)


def test_every_class_weighs_the_same() -> None:
    frame = etf(3, 4)
    features, labels = rows_of(frame)
    more = torch.full((50,), 1)
    features, labels = torch.cat([features, frame[more]]), torch.cat([labels, more])
    nc = neural_collapse(features, features @ frame.T, labels, frame)
    assert nc == pytest.approx((0, 0, 0, 0, 1), abs=1e-12)


def test_more_classes_than_fit_a_simplex() -> None:
    angles = torch.arange(8).double() * (2 * math.pi / 8)
    polygon = torch.stack([angles.cos(), angles.sin()], dim=1)
    features, labels = rows_of(polygon)
    nc = neural_collapse(features, features @ polygon.T, labels, polygon)
    floor = math.sqrt(2 - 2 * math.sqrt(2 / 7))
    assert nc == pytest.approx((0, floor, floor, 0, 1), abs=1e-12)


@pytest.mark.parametrize('missing', [0, 2, 4])
def test_a_missing_class_is_left_out(missing: int) -> None:
    frame = etf(5, 6)
    features, labels = rows_of(4 * frame + 1)
    kept = labels != missing
    features, labels = features[kept], labels[kept]
    logits = (features - 1) @ frame.T
    # The classifier may name the class; its nearest mean is not known.
    logits[:, missing] = 100
    nc = neural_collapse(features, logits, labels, frame)
    # The weights of four classes of five are not centred.
    nc3 = math.sqrt(2 - 2 * math.sqrt((5 * 4 - 5) / (5 * 4 - 4)))
    assert nc == pytest.approx((0, 0, 0, nc3, 1), abs=1e-12)


@pytest.mark.parametrize('missing', [[], [4], [0, 2]])
def test_equals_the_definition_on_the_classes_with_rows(missing: list[int]) -> None:
    labels = torch.arange(5).repeat(6)
    kept = torch.tensor([int(label) not in missing for label in labels])
    present = [label for label in range(5) if label not in missing]
    weight = torch.randn(5, 7, dtype=torch.float64) + 2
    features = 3 * torch.randn(5, 7, dtype=torch.float64)[labels]
    features, labels = (features + torch.randn(30, 7).double())[kept], labels[kept]
    logits = features @ weight.T
    nc = neural_collapse(features, logits, labels, weight)
    h, w, y = features.numpy(), weight.numpy(), labels.numpy()
    means = np.stack([h[y == label].mean(0) for label in present])
    centred = means - means.mean(0)

    def from_etf(rows: np.ndarray) -> float:
        gram, etf = rows @ rows.T, np.eye(len(rows)) - 1 / len(rows)
        return np.linalg.norm(gram / np.linalg.norm(gram) - etf / np.linalg.norm(etf))

    unit = [each / np.linalg.norm(each) for each in (w[present], centred)]
    nearest = np.linalg.norm(h[:, None] - means, axis=2).argmin(1)
    named = logits.numpy()[:, present].argmax(1)
    assert nc == pytest.approx(
        (
            by_definition(h, y),
            from_etf(centred),
            from_etf(w),
            np.linalg.norm(unit[0] - unit[1]),
            (nearest == named).mean(),
        ),
        rel=1e-9,
    )


def test_weights_that_are_no_frame() -> None:
    frame = etf(4, 4)
    features, labels = rows_of(frame)
    logits = features @ frame.T
    orthogonal = neural_collapse(features, logits, labels, torch.eye(4))
    expected = math.sqrt(2 - 2 * math.sqrt(3 / 4))
    assert orthogonal.nc2_weights == pytest.approx(expected, abs=1e-12)
    reversed_ = neural_collapse(features, logits, labels, -frame)
    assert reversed_.nc2_weights == pytest.approx(0, abs=1e-12)
    assert reversed_.nc3 == pytest.approx(2, abs=1e-12)
    nothing = neural_collapse(features, logits, labels, 0 * frame)
    assert nothing[2:4] == pytest.approx((1, 1), abs=1e-12)


def test_nc4_counts_the_rows_that_agree() -> None:
    frame = etf(4, 4)
    features, labels = rows_of(frame, each=2)
    logits = features @ frame.T
    logits[:3] = logits[:3].roll(1, dims=1)
    nc = neural_collapse(features, logits, labels, frame)
    assert nc.nc4 == 5 / 8
    assert nc.nc1 == pytest.approx(0, abs=1e-12)


def test_the_same_for_all_classes() -> None:
    frame = etf(3, 4)
    _, labels = rows_of(frame)
    features = torch.full((len(labels), 4), 0.1)
    nc = neural_collapse(features, features @ frame.T.float(), labels, frame)
    assert nc.nc1 == math.inf
    assert nc.nc2_means == pytest.approx(1)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_works_in_float64(dtype: torch.dtype) -> None:
    labels = torch.arange(5).repeat(6)
    features = (torch.randn(5, 7)[labels] + 0.1 * torch.randn(30, 7) + 60).to(dtype)
    weight = torch.randn(5, 7).to(dtype)
    logits = torch.randn(30, 5).to(dtype)
    got = neural_collapse(features, logits, labels, weight)
    wide = neural_collapse(features.double(), logits, labels, weight.double())
    assert got == pytest.approx(wide, rel=1e-12)
    assert got.nc1 == pytest.approx(
        by_definition(features.double().numpy(), labels.numpy()), rel=1e-6
    )


def test_clear_errors() -> None:
    features, labels = rows_of(etf(3, 4))
    logits, weight = torch.zeros(12, 3), torch.zeros(3, 4)
    with pytest.raises(ValueError, match='at least two, but got 4 rows of 1. Use a'):
        one = labels == 1
        neural_collapse(features[one], logits[one], labels[one], weight)
    with pytest.raises(ValueError, match='at least two, but got 0 rows of 0'):
        neural_collapse(features[:0], logits[:0], labels[:0], weight)
    with pytest.raises(ValueError, match=r'got the shapes \(12, 4\), .*\(3, 5\)'):
        neural_collapse(features, logits, labels, torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r'got the shapes \(3, 2, 2\)'):
        neural_collapse(torch.zeros(3, 2, 2), logits, labels, weight)
    with pytest.raises(ValueError, match='from 0 to 2, but go from 1 to 3'):
        neural_collapse(features, logits, labels + 1, weight)
    with pytest.raises(ValueError, match='finite features'):
        neural_collapse(features * math.inf, logits, labels, weight)
