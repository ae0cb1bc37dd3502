"""Results over several seeds, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmkd_logit.visualization.style import model_styles, printed


@printed
def plot_seeds(
    results: Mapping[str, Sequence[float]],
    intervals: Mapping[str, tuple[float, float]],
    metric: str,
    teacher: float | None = None,
    baseline: str | None = None,
) -> Figure:
    """Plot a dot for each seed, the mean and its interval.

    Args:
        results (Mapping[str, Sequence[float]]): Values of the seeds by label, the first
            on top.
        intervals (Mapping[str, tuple[float, float]]): Ends of an interval by label,
            for those that have one.
        metric (str): Name of the values.
        teacher (float, optional): The teacher's value, marked by a line. Defaults to
            None.
        baseline (str, optional): Label whose mean is marked by a line as no gain.
            Defaults to None.

    Returns:
        Figure: One panel.
    """
    labels = list(results)
    styles = model_styles(labels, plain=baseline)
    figure = Figure(figsize=(6.0, 0.9 + 0.34 * len(labels)), layout='constrained')
    axis = figure.subplots()
    for place, label in enumerate(labels):
        values = np.asarray(results[label], dtype=float)
        if not len(values):
            continue
        if label in intervals:
            axis.plot(
                intervals[label],
                [place, place],
                color='0.55',
                linewidth=5.0,
                alpha=0.5,
                solid_capstyle='butt',
            )
        colour = styles[label]['color']
        axis.plot(values, [place] * len(values), 'o', color=colour, alpha=0.75)
        axis.plot([values.mean()] * 2, [place - 0.28, place + 0.28], color='black')
    marks = [] if teacher is None else [('teacher', teacher, '--')]
    if baseline is not None and len(results[baseline]):
        marks.append(('no gain', float(np.mean(results[baseline])), '-'))
    for text, value, dashes in marks:
        axis.axvline(value, color='0.4', linestyle=dashes, linewidth=1.0, zorder=1)
        axis.annotate(
            text,
            (value, 1.0),
            xycoords=('data', 'axes fraction'),
            ha='center',
            va='bottom',
            fontsize=8,
        )
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_xlabel(metric)
    axis.grid(axis='y', visible=False)
    return figure
