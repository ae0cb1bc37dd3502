from __future__ import annotations

import math

import numpy as np
import pytest

from mmkd_logit.visualization import (
    PixelScores,
    line_style,
    plot_class_iou,
    score_rows,
)
from mmkd_logit.visualization.class_iou import boundary_distance, object_size

TRUTH = np.array(
    [
        [0, 0, 0, 1, 1, 255],
        [0, 0, 0, 1, 1, 255],
        [0, 2, 0, 1, 1, 255],
    ]
)


def scores(*label_maps: np.ndarray, classes: int = 4) -> PixelScores:
    found = PixelScores(classes)
    for each in label_maps:
        found.add(each, TRUTH)
    return found


def test_distance_to_a_boundary() -> None:
    got = boundary_distance(TRUTH, TRUTH != 255)
    expected = [
        [1 + math.sqrt(2), 2, 1, 1, 2],
        [2, 1, 1, 1, 2],
        [1, 1, 1, 1, 2],
    ]
    np.testing.assert_allclose(got[:, :5], expected)
    assert np.isinf(boundary_distance(TRUTH[:, 3:], TRUTH[:, 3:] != 255)).all()


def test_size_of_objects() -> None:
    apart = np.array([[1, 0, 1], [0, 1, 1], [1, 255, 255]])
    assert object_size(apart, apart != 255).tolist() == [
        [1, 1, 3],
        [1, 3, 3],
        [1, 0, 0],
    ]


def test_by_hand() -> None:
    """Class 2 missed, three pixels of class 1 called 0, void called 3."""
    wrong = TRUTH.copy()
    wrong[2, 1] = 0
    wrong[:, 3] = 0
    wrong[:, 5] = 3
    found = scores(wrong)
    iou = found.by('class')
    np.testing.assert_allclose(iou[:3], [100 * 8 / 12, 50.0, 0.0])
    assert np.isnan(iou[3])
    assert found.mean_iou() == pytest.approx(np.mean(iou[:3]))
    # Nine pixels at a boundary, of which four are wrong; five at 2, one beyond.
    np.testing.assert_allclose(found.by('boundary')[:3], [100 * 5 / 9, 100, 100])
    assert np.isnan(found.by('boundary')[3:]).all()
    np.testing.assert_allclose(found.by('size')[0], 100 * 11 / 15)
    twice = scores(wrong, wrong)
    np.testing.assert_allclose(twice.by('class')[:3], iou[:3])
    with pytest.raises(ValueError, match=r'shape \(3, 5\), but the truth has \(3, 6\)'):
        found.add(wrong[:, :5], TRUTH)


def test_rows_and_figure() -> None:
    wrong = np.where(TRUTH == 1, 0, TRUTH)
    found = {'teacher': scores(TRUTH), 'plain': scores(wrong), 'KD': scores(TRUTH)}
    classes = ['road', 'car', 'pole', 'never']
    rows = score_rows(found, 'plain', classes)
    assert len(rows) == 3 * (4 + 7 + 6)
    (car,) = (r for r in rows if (r['label'], r['of']) == ('KD', 'car'))
    assert car == {'label': 'KD', 'by': 'class', 'of': 'car', '%': 100, 'gain': 100}
    assert all(row['gain'] == 0 for row in rows[17:19])

    figure = plot_class_iou(found, 'plain', classes)
    figure.canvas.draw()
    left, *right = figure.axes
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names == ['pole', 'road', 'car']
    np.testing.assert_allclose(left.lines[1].get_xdata(), [100, 100 * 8 / 14, 0])
    assert [axis.get_title() for axis in right] == [
        'over plain, by distance to a boundary',
        'over plain, by size of the object',
    ]
    gains = right[0].lines[2].get_ydata()
    np.testing.assert_allclose(gains[:2], [100 * 3 / 9, 60.0])
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ['teacher', 'plain', 'KD']
    # Teacher and plain student are known by their places, and all look alike in panels.
    colours = [line.get_color() for line in left.lines]
    assert colours[:2] == [line_style(0)['color'], line_style(1)['color']]
    for axis in right:
        shown = [line.get_color() for line in axis.lines if line.get_marker() != 'None']
        assert shown == [colours[0], colours[2]]
        assert 'no gain' in [text.get_text() for text in axis.texts]
