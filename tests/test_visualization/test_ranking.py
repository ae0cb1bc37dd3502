from __future__ import annotations

import numpy as np
import torch

from mmkd_logit.visualization import plot_ranking


def test_shares_and_points() -> None:
    shares = {'KD: a': torch.tensor([0.7, 0.3]), 'tau: a': torch.tensor([0.0, 1.0])}
    divergence = {'a': torch.tensor([0.1, 1.0]), 'b': torch.tensor([0.2, 2.0])}
    tau = {'a': torch.tensor([1.0, 0.5]), 'b': torch.tensor([0.0, -0.5])}
    left, right = plot_ranking(shares, divergence, tau).axes
    for line, share in zip(left.lines, shares.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), share)
        assert list(line.get_xdata()) == [1, 2]
    for points, label in zip(right.lines, tau, strict=True):
        np.testing.assert_array_equal(points.get_xdata(), divergence[label])
        np.testing.assert_array_equal(points.get_ydata(), tau[label])
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    assert texts == ['a: mean 0.750', 'b: mean -0.250']
