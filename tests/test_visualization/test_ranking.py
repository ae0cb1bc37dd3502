from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd_logit.functional import kd_loss, kendall_tau, kendall_tau_loss
from mmkd_logit.visualization import gradient_shares, plot_ranking


def test_shares_of_gradient_and_points() -> None:
    student, teacher = torch.randn(2, 30, 6, dtype=torch.float64)
    shares = gradient_shares({'small': student}, teacher, tau=2.0, k=5.0)
    assert list(shares) == ['KD, tau=2: small', "Kendall's tau, k=5: small"]

    leaf = student.clone().requires_grad_()
    losses = kd_loss(leaf, teacher, 2.0), kendall_tau_loss(leaf, teacher, 5.0)
    ranks = teacher.argsort(1, descending=True)
    for share, loss in zip(shares.values(), losses, strict=True):
        (grad,) = torch.autograd.grad(loss, leaf)
        sizes = np.take_along_axis(grad.abs().numpy(), ranks.numpy(), 1).sum(0)
        np.testing.assert_allclose(share, sizes / sizes.sum())

    left, right = plot_ranking(shares, {'small': student}, teacher).axes
    for line, share in zip(left.lines, shares.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), share)
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
    (points,) = right.lines
    np.testing.assert_allclose(points.get_ydata(), kendall_tau(student, teacher))
    expected = kd_loss(student, teacher, 1.0).item()
    assert np.mean(points.get_xdata()) == pytest.approx(expected)
