from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd_logit.functional import kd_loss, kendall_tau, kendall_tau_loss
from mmkd_logit.visualization import plot_ranking


def test_plots_shares_of_gradient_and_points() -> None:
    student, teacher = torch.randn(2, 30, 6, dtype=torch.float64)
    figure = plot_ranking({'small': (student, teacher)}, tau=2.0, k=5.0)
    left, right = figure.axes

    losses = (kd_loss(student.requires_grad_(), teacher, 2.0),)
    losses += (kendall_tau_loss(student, teacher, 5.0),)
    ranks = teacher.argsort(1, descending=True)
    for line, loss in zip(left.lines, losses, strict=True):
        (grad,) = torch.autograd.grad(loss, student)
        sizes = np.take_along_axis(grad.abs().numpy(), ranks.numpy(), 1).sum(0)
        np.testing.assert_allclose(line.get_ydata(), sizes / sizes.sum())
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
    (points,) = right.lines
    np.testing.assert_allclose(points.get_ydata(), kendall_tau(student, teacher))
    expected = kd_loss(student, teacher, 1.0).item()
    assert np.mean(points.get_xdata()) == pytest.approx(expected)
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ['KD, tau=2: small', "Kendall's tau, k=5: small"]
