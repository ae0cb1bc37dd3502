from __future__ import annotations

import numpy as np
import torch

from mmkd_logit.visualization import plot_ranking


def test_shares_and_points() -> None:
    shares = {
        'KD': {'a': torch.tensor([0.7, 0.3]), 'b': torch.tensor([0.6, 0.4])},
        'tau': {'a': torch.tensor([0.0, 1.0]), 'b': torch.tensor([0.5, 0.5])},
    }
    divergence = {'a': torch.tensor([0.1, 1.0]), 'b': torch.tensor([0.2, 2.0])}
    tau = {'a': torch.tensor([1.0, 0.5]), 'b': torch.tensor([0.0, -0.5])}
    figure = plot_ranking(shares, divergence, tau)
    of_losses, of_students = figure.axes[:2], figure.axes[2:]
    for axis, (loss, by_student) in zip(of_losses, shares.items(), strict=True):
        assert axis.get_title() == loss
        *lines, even = axis.lines
        for line, share in zip(lines, by_student.values(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), share)
            assert list(line.get_xdata()) == [1, 2]
        assert set(even.get_ydata()) == {0.5}
    expected = ['a\nmean 0.750', 'b\nmean -0.250']
    assert [axis.get_title() for axis in of_students] == expected
    for place, (axis, label) in enumerate(zip(of_students, tau, strict=True)):
        (points,) = axis.lines
        np.testing.assert_array_equal(points.get_xdata(), divergence[label])
        np.testing.assert_array_equal(points.get_ydata(), tau[label])
        colours = {axis.lines[place].get_color() for axis in of_losses}
        assert colours == {points.get_color()}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['a', 'b']


def test_four_and_six_students_have_panels_of_their_own() -> None:
    for count in (1, 4, 6):
        row = {f'student {i}': torch.tensor([0.5, 1.0]) for i in range(count)}
        figure = plot_ranking({'KD': row, 'tau': row}, row, row)
        figure.canvas.draw()
        assert len(figure.axes) == 2 + count
        boxes = [axis.get_window_extent() for axis in figure.axes]
        assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
        assert min(box.width for box in boxes) > 150
