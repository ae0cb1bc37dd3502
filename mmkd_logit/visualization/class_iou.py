"""Accuracy of segmentors by class, distance to boundaries and object size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import ndimage

from mmkd_logit.visualization.style import (
    add_legend,
    mark_neutral,
    model_styles,
    printed,
    wrapped,
)

# Upper ends of all bins but the last: distance to a boundary, in pixels, and number of
# pixels of an object.
_DISTANCES = 1, 2, 4, 8, 16, 32
_SIZES = 64, 256, 1024, 4096, 16384
_CROSS = ndimage.generate_binary_structure(2, 1)


class PixelScores:
    """Counts the pixels of a dataset that a segmentor labels correctly.

    Args:
        classes (int): Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._both = np.zeros(classes, np.int64)
        self._either = np.zeros(classes, np.int64)
        self._right = {
            'boundary': np.zeros(len(_DISTANCES) + 1, np.int64),
            'size': np.zeros(len(_SIZES) + 1, np.int64),
        }
        self._pixels = {kind: np.zeros_like(v) for kind, v in self._right.items()}

    def add(self, label_map: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            label_map (np.ndarray): Predicted class indices, shape (H, W).
            truth (np.ndarray): True class indices; pixels without a class do not count.

        Raises:
            ValueError: If the two have different shapes.
        """
        if label_map.shape != truth.shape:
            raise ValueError(
                f'The label map has the shape {label_map.shape}, but the truth has '
                f'{truth.shape}.'
            )
        valid = (truth >= 0) & (truth < self._classes)
        right = valid & (label_map == truth)
        self._both += self._count(truth[right])
        self._either += self._count(truth[valid]) + self._count(label_map[valid])
        self._either -= self._count(truth[right])
        for kind, bins in (
            (
                'boundary',
                np.digitize(boundary_distance(truth, valid), _DISTANCES, True),
            ),
            ('size', np.digitize(object_size(truth, valid), _SIZES, True)),
        ):
            length = len(self._pixels[kind])
            self._pixels[kind] += np.bincount(bins[valid], minlength=length)
            self._right[kind] += np.bincount(bins[right], minlength=length)

    def _count(self, indices: np.ndarray) -> np.ndarray:
        inside = indices[(indices >= 0) & (indices < self._classes)]
        return np.bincount(inside, minlength=self._classes)

    def iou(self) -> np.ndarray:
        """Return the IoU of each class in %; NaN for one that never occurs."""
        return _percent(self._both, self._either)

    def mean_iou(self) -> float:
        """Return the mean IoU over the classes that occur, in %."""
        return float(np.nanmean(self.iou()))

    def by(self, kind: str) -> np.ndarray:
        """Return the IoU of each class, or the accuracy in each bin; NaN if empty.

        Args:
            kind (str): 'class'; 'boundary', by distance to a boundary; or 'size', by
                size of the object.

        Returns:
            np.ndarray: In %.
        """
        if kind == 'class':
            return self.iou()
        return _percent(self._right[kind], self._pixels[kind])


def bin_names(kind: str) -> list[str]:
    """Return the names of the bins of 'boundary' or 'size': ranges in pixels."""
    ends = {'boundary': _DISTANCES, 'size': _SIZES}[kind]
    return [*(f'<= {end}' for end in ends), f'> {ends[-1]}']


def boundary_distance(truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Compute the distance of each pixel to the nearest boundary between classes.

    Args:
        truth (np.ndarray): Class indices, shape (H, W).
        valid (np.ndarray): Which pixels have a class, shape (H, W).

    Returns:
        np.ndarray: Distances in pixels, shape (H, W): 1 at a boundary, infinite if
        there is none. The border of a region without a class is not a boundary.
    """
    touches = np.zeros(truth.shape, bool)
    for axis in (0, 1):
        before = [slice(None), slice(None)]
        after = [slice(None), slice(None)]
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(before), tuple(after)
        differ = (truth[a] != truth[b]) & valid[a] & valid[b]
        touches[a] |= differ
        touches[b] |= differ
    if not touches.any():
        return np.full(truth.shape, np.inf)
    return 1 + ndimage.distance_transform_edt(~touches)


def object_size(truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Compute the size of the object that each pixel belongs to, in pixels.

    An object is a connected region of one class; pixels that touch only at a corner
    are not connected.

    Args:
        truth (np.ndarray): Class indices, shape (H, W).
        valid (np.ndarray): Which pixels have a class, shape (H, W).

    Returns:
        np.ndarray: Shape (H, W); 0 where there is no class.
    """
    sizes = np.zeros(truth.shape, np.int64)
    for index in np.unique(truth[valid]):
        objects, _ = ndimage.label(valid & (truth == index), _CROSS)
        counts = np.bincount(objects.ravel())
        counts[0] = 0
        sizes += counts[objects]
    return sizes


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, 100 * part / np.maximum(whole, 1), np.nan)


def score_rows(
    scores: Mapping[str, PixelScores], plain: str, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the numbers behind the figure.

    Args:
        scores (Mapping[str, PixelScores]): Scores of each model.
        plain (str): The model that gains are relative to.
        classes (Sequence[str]): Names of the classes.

    Returns:
        list[dict[str, Any]]: Label, kind, class or bin, IoU of the class or accuracy in
        the bin in %, and its gain over the plain model.
    """
    rows = []
    for label, found in scores.items():
        for kind, names in (
            ('class', classes),
            ('boundary', bin_names('boundary')),
            ('size', bin_names('size')),
        ):
            values, base = (each.by(kind) for each in (found, scores[plain]))
            rows += [
                {'label': label, 'by': kind, 'of': name, '%': value, 'gain': gain}
                for name, value, gain in zip(names, values, values - base)
            ]
    return rows


@printed
def plot_class_iou(
    scores: Mapping[str, PixelScores], plain: str, classes: Sequence[str]
) -> Figure:
    """Plot the IoU of each class, and gains by boundary distance and object size.

    Args:
        scores (Mapping[str, PixelScores]): Scores of each model on the same images; the
            first is the teacher.
        plain (str): The model that gains are relative to.
        classes (Sequence[str]): Names of the classes. Those that never occur are left
            out.

    Returns:
        Figure: Three panels with one legend; classes are sorted by the gain of the last
        model, largest on top.
    """
    styles = model_styles(scores, next(iter(scores)), plain)
    ious = {label: found.iou() for label, found in scores.items()}
    gain = list(ious.values())[-1] - ious[plain]
    order = [i for i in np.argsort(np.nan_to_num(gain)) if np.isfinite(ious[plain][i])]
    figure = Figure(figsize=(9.0, max(3.6, 1.2 + 0.17 * len(order))))
    figure.set_layout_engine('constrained')
    grid = figure.add_gridspec(2, 2, width_ratios=[3, 2])
    left = figure.add_subplot(grid[:, 0])
    left.set(title='classes', xlabel='IoU, %', ylim=(-0.7, len(order) - 0.3))
    left.set_yticks(range(len(order)), [classes[i] for i in order])
    for label, each in ious.items():
        style = styles[label] | {'linestyle': 'none'}
        left.plot(each[order], range(len(order)), **style)
    titles = {
        'boundary': f'over {plain}, by distance to a boundary',
        'size': f'over {plain}, by size of the object',
    }
    for row, (kind, title) in enumerate(titles.items()):
        axis = figure.add_subplot(grid[row, 1])
        names = bin_names(kind)
        axis.set(xlabel='pixels', ylabel='gain in accuracy')
        axis.set_title(wrapped(title, 3.6))
        axis.set_xticks(range(len(names)), names)
        mark_neutral(axis, 0, 'no gain')
        for label, found in scores.items():
            if label != plain:
                gains = found.by(kind) - scores[plain].by(kind)
                axis.plot(range(len(names)), gains, **styles[label])
    add_legend(
        figure, {label: Line2D([], [], **style) for label, style in styles.items()}
    )
    return figure
