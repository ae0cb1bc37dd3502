"""What the figures show, read from their axes, and that they can be told in grey."""

from __future__ import annotations

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
    model_styles,
    plot_comparison,
    plot_correlation,
    plot_curves,
    plot_features,
    plot_seeds,
    plot_segmentations,
    save,
)
from mmkd_logit.visualization.style import wrapped


def curve(*values: list[float], unit: str = 'epoch') -> Curve:
    return Curve(np.arange(len(values[0])) + 1, np.array(values), unit)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def test_lines_differ_without_colour() -> None:
    styles = [line_style(index) for index in range(36)]
    assert len({(each['linestyle'], each['marker']) for each in styles}) == 36
    for first, second in pairwise(styles):
        assert not set(first.values()) & set(second.values())


def test_marks_of_classes_differ() -> None:
    styles = [line_style(index) for index in range(63)]
    assert len({(each['color'], each['marker']) for each in styles}) == 63


def test_a_method_looks_alike_wherever_it_is() -> None:
    all_of_them = model_styles(
        ['teacher', 'plain student', 'KD', 'DHKD', 'MCLD', "KD + Kendall's tau"]
    )
    assert len({each['color'] for each in all_of_them.values()}) == 6
    some = model_styles(['DHKD student', 'mine', 'plain'])
    assert some['DHKD student'] == all_of_them['DHKD']
    assert some['plain'] == all_of_them['plain student']
    assert some['mine'] == line_style(2)
    # Of two labels with its name, the shorter is the method.
    two = model_styles(['DHKD, nonlinear head', 'DHKD'])
    assert two['DHKD'] == all_of_them['DHKD'] != two['DHKD, nonlinear head']
    # A role that is known otherwise counts more than a word.
    roles = model_styles(['KD', 'CE', 'ResNet'], teacher='ResNet', plain='CE')
    assert roles['ResNet'] == all_of_them['teacher']
    assert roles['CE'] == all_of_them['plain student']
    many = model_styles(f'student {i}' for i in range(30))
    assert len({(s['linestyle'], s['marker']) for s in many.values()}) == 30


def test_long_titles_are_broken() -> None:
    assert wrapped('a title of two\nlines', 3.0) == 'a title of two\nlines'
    assert max(map(len, wrapped('student ' * 20, 2.0).splitlines())) <= 22


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


def test_neutral_cosine_is_marked_also_where_all_are_positive() -> None:
    (axis,) = plot_curves({'one head': {'grad_cos/layer1': curve([0.2, 0.3])}}).axes
    np.testing.assert_array_equal(axis.lines[1].get_ydata(), [0, 0])
    assert [text.get_text() for text in axis.texts] == ['unrelated']


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
    assert legend(figure) == ['1 class 1', '12 class 12']
    for axis, sign in zip(figure.axes, (1, -1)):
        for line, index in zip(axis.lines, (1, 12)):
            np.testing.assert_array_equal(
                line.get_xydata(), sign * points[labels == index]
            )
        middles = {text.get_text(): text.get_position() for text in axis.texts}
        assert middles == {'1': (2 * sign, 3 * sign), '12': (6 * sign, 7 * sign)}
    left, right = figure.axes
    for a, b in zip(left.lines, right.lines):
        assert (a.get_marker(), a.get_color()) == (b.get_marker(), b.get_color())
    digits = plot_features({'a': points}, labels, list(map(str, range(13))))
    assert legend(digits) == ['1', '12']


@pytest.mark.parametrize('count', [1, 20, 100])
def test_features_of_many_classes(count: int) -> None:
    points, labels = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200)
    names = [f'class {i}' for i in range(count)]
    figure = plot_features({'teacher': points}, labels % count, names)
    figure.canvas.draw()
    (axis,) = figure.axes
    assert len({(line.get_marker(), line.get_color()) for line in axis.lines}) == min(
        count, 63
    )
    assert {text.get_text() for text in axis.texts} == set(map(str, range(count)))
    assert len(legend(figure)) == (count if count <= 40 else 0)


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
        ValueError, match='3 or more images, but got 2. Increase --samples'
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
    assert bar.get_xlabel() == (
        '|correlation of two logits, student - teacher|; 0: as the teacher'
    )
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
    assert legend(figure) == ['a', 'b', 'c', 'ignored']
    assert titles(figure)[:3] == ['image', 'truth', 'student']
    for row, size in enumerate(sizes):
        shown = [axis.images[0].get_array() for axis in figure.axes[3 * row :][:3]]
        assert [each.shape for each in shown] == [(*size, 3)] * 3
        np.testing.assert_array_equal(shown[1][0, 0], colours[row])
        assert not shown[2].any()


def test_ignored_pixels_have_a_colour_of_their_own() -> None:
    maps = [np.array([[0, 255], [1, -1]])]
    image = [np.zeros((2, 2, 3), np.uint8)]
    black = [(0, 0, 0), (255, 0, 0)]
    figure = plot_segmentations(image, {'truth': maps}, ['void?', 'b'], black)
    assert legend(figure) == ['void?', 'b', 'ignored']
    shown = figure.axes[1].images[0].get_array()
    assert shown[0, 1].tolist() == shown[1, 1].tolist() == [255, 255, 255]
    (box,) = (
        patch
        for patch, text in zip(
            figure.legends[0].get_patches(), figure.legends[0].get_texts()
        )
        if text.get_text() == 'ignored'
    )
    assert box.get_facecolor() == (1, 1, 1, 1)


def test_comparison() -> None:
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.1, 0.0], [0.0, 0.1]])
    bins = calibration_bins(logits, torch.tensor([0, 0, 1, 1]), bins=5)
    tau = np.array([1.0, 1.0, -0.5, 0.5])
    figure = plot_comparison({'ResNet': bins, 'student': bins}, {'student': tau})
    teacher, student, histogram = figure.axes
    assert titles(figure) == ['ResNet', 'student', 'mean 0.50']
    for axis in (teacher, student):
        diagonal, reliability, *_ = axis.lines
        np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
        np.testing.assert_allclose(
            reliability.get_xydata(), [[0.524979, 0.5], [0.999877, 1.0]], rtol=1e-5
        )
        # Wilson's interval of one of two, and of two of two.
        (segments,) = axis.collections
        ends = [segment[:, 1] for segment in segments.get_segments()]
        np.testing.assert_allclose(ends, [[0.0945, 0.9055], [0.3424, 1.0]], atol=1e-3)
        counts = [text.get_text() for text in axis.texts if text.get_text().isdigit()]
        assert counts == ['2', '2']
    assert teacher.lines[1].get_color() == line_style(0)['color']
    (shares,) = histogram.patches
    values = shares.get_data().values
    assert values.sum() == pytest.approx(1) and values[-1] == 0.5
    zero, mean = histogram.lines
    assert set(mean.get_xdata()) == {0.5} and set(zero.get_xdata()) == {0}
    assert student.lines[1].get_color() == mean.get_color()


@pytest.mark.parametrize('count', [1, 2, 4, 6])
def test_comparison_has_panels_for_each_student(count: int) -> None:
    bins = calibration_bins(torch.eye(3), torch.tensor([0, 1, 1]), bins=5)
    names = [f'student {i} with a rather long name' for i in range(count)]
    tau = {name: np.array([0.5, np.nan, 0.1]) for name in names}
    tau[names[0]] = np.array([np.nan])
    figure = plot_comparison(dict.fromkeys(['teacher', *names], bins), tau, 'pixels')
    figure.canvas.draw()
    assert len(figure.axes) == 1 + 2 * count
    boxes = [axis.get_window_extent() for axis in figure.axes]
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts.count('not finite') == 1
    # The histograms can be compared.
    lower = [axis for axis in figure.axes if 'tau of pixels' in axis.get_xlabel()]
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in lower}) == 1


def test_seeds() -> None:
    results = {'CE': [70.0, 72.0], 'KD': [73.0], 'waiting': []}
    (axis,) = plot_seeds(results, {}, 'accuracy', 80.0, baseline='CE').axes
    marks = {text.get_text(): text.xy[0] for text in axis.texts}
    assert marks == {'teacher': 80.0, 'no gain': 71.0}
    plain, kd = (line for line in axis.lines if line.get_marker() == 'o')
    assert plain.get_color() == line_style(1)['color']
    assert kd.get_color() == model_styles(['KD'])['KD']['color']


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


@pytest.mark.parametrize('count', [1, 2, 4, 7])
def test_every_panel_is_drawn(count: int) -> None:
    figure = plot_curves({f'{i}': {'x': curve([1.0, 2.0])} for i in range(count)})
    figure.canvas.draw()
    boxes = [axis.get_window_extent() for axis in figure.axes if isinstance(axis, Axes)]
    assert len(boxes) == count
    assert min(box.width for box in boxes) > 150
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
