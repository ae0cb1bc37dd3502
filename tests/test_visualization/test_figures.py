"""What the figures show, read from their axes, and that they can be told in grey."""

from __future__ import annotations

import argparse
import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mmkd_logit.functional import calibration_bins
from mmkd_logit.visualization import (
    Curve,
    embed,
    line_style,
    picture_path,
    plot_comparison,
    plot_correlation,
    plot_curves,
    plot_features,
    plot_segmentations,
    save,
)


def curve(*values: list[float], unit: str = 'epoch') -> Curve:
    return Curve(np.arange(len(values[0])) + 1, np.array(values), unit)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def test_lines_differ_without_colour() -> None:
    styles = [line_style(index) for index in range(28)]
    assert len({(each['linestyle'], each['marker']) for each in styles}) == 28
    for first, second in pairwise(styles):
        assert not set(first.values()) & set(second.values())


def test_curves() -> None:
    two = curve([1.0, 2.0, 3.0], [3.0, 2.0, 7.0])
    one = curve([0.5, -1.0, 4.0], unit='iteration')
    figure = plot_curves({'acc': {'a': two, 'b': two}, 'loss': {'b': one}})
    left, right = figure.axes
    assert titles(figure) == ['acc', 'loss']
    assert legend(figure) == ['a', 'b']
    assert (left.get_xlabel(), right.get_xlabel()) == ('epoch', 'iteration')
    np.testing.assert_allclose(left.lines[0].get_ydata(), [2, 2, 5])
    (band, _) = left.collections
    spread = band.get_paths()[0].vertices[:, 1]
    assert spread.min() == pytest.approx(2 - 2**0.5)
    assert spread.max() == pytest.approx(5 + 8**0.5)
    # A label looks alike in all panels, and a single run has no band.
    assert right.lines[0].get_marker() == left.lines[1].get_marker()
    assert not right.collections
    # Zero is marked where values are on both sides of it.
    assert len(left.lines) == 2
    np.testing.assert_array_equal(right.lines[1].get_ydata(), [0, 0])


def test_scales_of_curves() -> None:
    wide, narrow = curve([1.0, 0.001]), curve([1.0, 0.5])
    figure = plot_curves({'wide': {'a': wide}, 'narrow': {'a': narrow}})
    assert [axis.get_yscale() for axis in figure.axes] == ['log', 'linear']
    figure = plot_curves({'a': {'x': curve([0.0, 9.0])}, 'b': {'x': narrow}}, True)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    signed = {'a': {'x': curve([-0.2, 0.3])}, 'b': {'x': wide}}
    figure = plot_curves(signed, share_y=True)
    assert [axis.get_yscale() for axis in figure.axes] == ['linear', 'linear']
    infinite = plot_curves({'a': {'x': curve([float('inf'), 2.0])}})
    assert infinite.axes[0].get_yscale() == 'linear'


def test_features() -> None:
    points = np.arange(12.0).reshape(6, 2)
    labels = np.array([1, 1, 12, 12, 12, 1])
    names = [f'class {i}' for i in range(13)]
    figure = plot_features({'teacher': points, 'student': -points}, labels, names)
    assert titles(figure) == ['teacher', 'student']
    assert legend(figure) == ['class 1', 'class 12']
    for axis, sign in zip(figure.axes, (1, -1)):
        for line, index in zip(axis.lines, (1, 12)):
            assert line.get_marker() == f'${index}$'
            np.testing.assert_array_equal(
                line.get_xydata(), sign * points[labels == index]
            )
        middles = {text.get_text(): text.get_position() for text in axis.texts}
        assert middles == {'1': (2 * sign, 3 * sign), '12': (6 * sign, 7 * sign)}
    assert not plot_features({'a': points}, labels, list(map(str, range(13)))).legends


def test_t_sne_keeps_groups_together() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = rng.normal(size=(40, 5)) + 20 * labels[:, None]
    points = embed(features)
    np.testing.assert_array_equal(points, embed(features))
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).all()
    with pytest.raises(
        ValueError, match='3 or more images, but got 2. Raise --samples'
    ):
        embed(features[:2])


def test_correlation() -> None:
    near = torch.tensor([[0.0, 0.1, 0.2], [0.1, 0.0, 0.3], [0.2, 0.3, 0.0]])
    near = near.double()
    figure = plot_correlation({'a': near, 'b': 2 * near}, 'teacher', list('xyz'))
    left, right, bar = figure.axes
    assert titles(figure)[:2] == ['a\nmean 0.2000', 'b\nmean 0.4000']
    for axis, values in ((left, near), (right, 2 * near)):
        (image,) = axis.images
        np.testing.assert_array_equal(image.get_array(), values)
        assert image.get_clim() == (0, pytest.approx(0.6))
        assert [text.get_text() for text in axis.get_xticklabels()] == list('xyz')
    assert bar.get_xlabel() == '|correlation of two logits, student - teacher|'
    plot_correlation({'a': 0 * near}, 'teacher', list('xyz')).canvas.draw()


def test_segmentations_of_different_sizes() -> None:
    sizes = [(8, 16), (24, 12), (10, 10)]
    images = [np.full((*size, 3), 200, np.uint8) for size in sizes]
    maps = [np.full(size, index, np.int64) for index, size in enumerate(sizes)]
    void = [np.full(size, 255) for size in sizes]
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    figure = plot_segmentations(
        images, {'truth': maps, 'student': void}, list('abcd'), colours
    )
    figure.canvas.draw()
    assert legend(figure) == ['a', 'b', 'c']
    assert titles(figure)[:3] == ['image', 'truth', 'student']
    for row, size in enumerate(sizes):
        shown = [axis.images[0].get_array() for axis in figure.axes[3 * row :][:3]]
        assert [each.shape for each in shown] == [(*size, 3)] * 3
        np.testing.assert_array_equal(shown[1][0, 0], colours[row])
        assert not shown[2].any()


def test_comparison() -> None:
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.1, 0.0], [0.0, 0.1]])
    bins = calibration_bins(logits, torch.tensor([0, 0, 1, 1]))
    tau = np.array([1.0, 1.0, -0.5, 0.5])
    figure = plot_comparison({'teacher': bins, 'student': bins}, {'student': tau})
    left, right = figure.axes
    assert legend(figure) == ['teacher', 'student']
    _, reliability, _ = left.lines
    np.testing.assert_allclose(
        reliability.get_xydata(), [[0.524979, 0.5], [0.999877, 1.0]], rtol=1e-5
    )
    (histogram,) = right.lines
    assert histogram.get_ydata().sum() == pytest.approx(1)
    assert histogram.get_ydata()[-1] == 0.5
    assert histogram.get_marker() == line_style(1)['marker']


def test_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = plot_curves({'a': {'x': curve([1.0, 2.0])}})
    out = tmp_path / 'out.png'
    save(figure, out, [{'a, b': 1, 'c': 0.5}, {'a, b': 2, 'c': ''}])
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert('L'))
    assert 0.01 < (pixels < 128).mean() < 0.5
    with (tmp_path / 'out.csv').open() as file:
        assert list(csv.DictReader(file)) == [
            {'a, b': '1', 'c': '0.5'},
            {'a, b': '2', 'c': ''},
        ]
    assert str(tmp_path / 'out.csv') in capsys.readouterr().out


def test_picture_path(tmp_path: Path) -> None:
    assert picture_path(str(tmp_path / 'a.PDF')).suffix == '.PDF'
    with pytest.raises(argparse.ArgumentTypeError, match='one of .png, .pdf, .svg'):
        picture_path('numbers.csv')
    with pytest.raises(argparse.ArgumentTypeError, match='folder nowhere does not'):
        picture_path('nowhere/a.png')


@pytest.mark.parametrize('count', [1, 2, 4, 7])
def test_every_panel_is_drawn(count: int) -> None:
    figure = plot_curves({f'{i}': {'x': curve([1.0, 2.0])} for i in range(count)})
    figure.canvas.draw()
    boxes = [axis.get_window_extent() for axis in figure.axes if isinstance(axis, Axes)]
    assert len(boxes) == count
    assert min(box.width for box in boxes) > 150
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
