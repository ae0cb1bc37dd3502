"""Students against their teacher: confidence, and ranking of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmkd_logit.functional import CalibrationBins
from mmkd_logit.visualization.style import model_styles, printed, wrapped

_COLUMNS = 4
_WIDTH, _HEIGHT = 2.5, 2.5
_NOTE: dict[str, Any] = {'color': '0.4', 'fontsize': 7}


@printed
def plot_comparison(
    calibration: Mapping[str, CalibrationBins],
    tau: Mapping[str, np.ndarray],
    rows: str = 'images',
) -> Figure:
    """Plot a reliability diagram and a histogram of Kendall's tau for each model.

    Args:
        calibration (Mapping[str, CalibrationBins]): Calibration of each model, in a few
            bins; the first is the teacher. A marker is the accuracy of a bin, with its
            95 % interval (Wilson's); the number of its rows is printed below.
        tau (Mapping[str, np.ndarray]): For each student, Kendall's tau of its logits
            and the teacher's for each row, shape (N,). Values that are not finite are
            left out.
        rows (str): What a row is. Defaults to 'images'.

    Returns:
        Figure: One column per model, at most four side by side, with the histogram of a
        student below its diagram.
    """
    names = list(calibration)
    styles = model_styles(names, teacher=names[0])
    columns = min(_COLUMNS, len(names))
    bands = -(-len(names) // columns)
    figure = Figure(
        figsize=(_WIDTH * columns, 2 * _HEIGHT * bands), layout='constrained'
    )
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    finite = {name: values[np.isfinite(values)] for name, values in tau.items()}
    lowest = min((each.min() for each in finite.values() if len(each)), default=0.0)
    edges = np.linspace(min(np.floor(lowest * 10) / 10, 0.9), 1, 21)
    histograms, largest = [], 0.0
    for place in range(bands * columns):
        band, column = divmod(place, columns)
        upper, lower = grid[2 * band : 2 * band + 2, column]
        name = names[place] if place < len(names) else None
        if name is None:
            upper.remove()
        else:
            upper.set_title(wrapped(name, _WIDTH))
            _draw_calibration(upper, calibration[name], styles[name])
            upper.set_xlabel('confidence')
        if name not in finite:
            lower.remove()
            continue
        tallest = _draw_tau(lower, finite[name], edges, styles[name]['color'])
        largest = max(largest, tallest)
        lower.set(xlabel=f"Kendall's tau of {rows}")
        histograms.append(lower)
    for axis in histograms[1:]:
        axis.sharey(histograms[0])
    if histograms:
        histograms[0].set_ylabel(f'share of {rows}')
        histograms[0].set_ylim(0, 1.15 * (largest or 1.0))
    for axis in grid[::2, 0]:
        axis.set_ylabel('accuracy')
    return figure


def _draw_calibration(axis: Axes, bins: CalibrationBins, style: dict) -> None:
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.12, 1.03), aspect='equal')
    ends = np.linspace(0, 1, len(bins.rows) + 1)
    axis.set_xticks(ends)
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.plot([0, 1], [0, 1], color='0.4', linewidth=0.8, zorder=1)
    for text, x, y in (
        ('calibrated', 0.16, 0.23),
        ('overconfident', 0.68, 0.3),
    ):
        axis.text(
            x, y, text, size=6, color='0.4', rotation=45, ha='center', va='center'
        )
    count = bins.rows.double().numpy()
    for middle, number in zip((ends[1:] + ends[:-1]) / 2, count):
        if number:
            axis.text(middle, -0.1, f'{number:.0f}', size=7, color='0.3', ha='center')
    kept = (count > 0) & np.isfinite(bins.confidence.numpy())
    x, y = bins.confidence.numpy()[kept], bins.accuracy.double().numpy()[kept]
    low, high = _wilson(y, count[kept])
    axis.errorbar(
        x, y, yerr=(y - low, high - y), **style, elinewidth=1.0, capsize=2, zorder=3
    )


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of a share, which contains the share."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    half = z * spread / (1 + z**2 / count)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def _draw_tau(axis: Axes, values: np.ndarray, edges: np.ndarray, colour: str) -> float:
    """Draw the histogram of one student; return its largest share."""
    axis.set_xlim(edges[0], 1)
    if edges[0] < 0:
        axis.axvline(0, color='0.4', linewidth=0.8, zorder=1)
        where = axis.get_xaxis_transform()
        text = ' no relation'
        axis.text(0, 0.97, text, transform=where, rotation=90, va='top', **_NOTE)
    if not len(values):
        axis.text(0.5, 0.5, 'not finite', transform=axis.transAxes, ha='center')
        return 0.0
    shares = np.histogram(values, edges)[0] / len(values)
    axis.stairs(shares, edges, color=colour, fill=True, alpha=0.6)
    axis.axvline(values.mean(), color=colour, linewidth=1.6)
    axis.set_title(f'mean {values.mean():.2f}', size=8)
    return float(shares.max())
