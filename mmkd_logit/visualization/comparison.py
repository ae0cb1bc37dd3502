"""Students against their teacher: confidence, and order of the classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmkd_logit.functional import CalibrationBins
from mmkd_logit.visualization.style import line_style, make_panels, printed


@printed
def plot_comparison(
    calibration: Mapping[str, CalibrationBins], tau: Mapping[str, np.ndarray]
) -> Figure:
    """A reliability diagram of all models, and a histogram of Kendall's tau.

    Args:
        calibration (Mapping[str, CalibrationBins]): Of each model; the first is the
            teacher. A larger mark is a bin of more images.
        tau (Mapping[str, np.ndarray]): For each student, Kendall's tau of its logits
            and the teacher's for each image, shape (N,).

    Returns:
        Figure: Two panels with one legend.
    """
    names = list(calibration)
    figure, (left, right) = make_panels(
        2, columns=2, width=3.6, height=3.0, legend_lines=-(-len(names) // 3) + 1
    )
    left.set(title='calibration', xlabel='confidence', ylabel='accuracy')
    left.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    left.plot([0, 1], [0, 1], color='0.6', linewidth=0.8, zorder=1)
    for index, bins in enumerate(calibration.values()):
        kept = bins.rows.numpy() > 0
        share = (bins.rows / bins.rows.sum()).numpy()[kept]
        style = line_style(index)
        x, y = bins.confidence.numpy()[kept], bins.accuracy.numpy()[kept]
        # Faint, for most bins hold a few images only.
        faint = {'linewidth': 0.8, 'markersize': 3, 'alpha': 0.5}
        left.plot(x, y, **style | faint)
        left.scatter(
            x,
            y,
            s=20 + 200 * share,
            color=style['color'],
            marker=style['marker'],
            alpha=0.5,
            linewidths=0,
        )
    right.set(
        title='order of the classes',
        xlabel="Kendall's tau of an image",
        ylabel='share of images',
    )
    lowest = min(float(each.min()) for each in tau.values())
    edges = np.linspace(np.floor(lowest * 10) / 10, 1, 21)
    middles = (edges[1:] + edges[:-1]) / 2
    for name, values in tau.items():
        shares = np.histogram(values, edges)[0] / len(values)
        style = line_style(names.index(name))
        right.plot(middles, shares, drawstyle='steps-mid', **style)
    handles = [Line2D([], [], **line_style(index)) for index in range(len(names))]
    figure.legend(handles, names, loc='outside lower center', ncols=3, handlelength=3.5)
    return figure
