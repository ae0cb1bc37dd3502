"""Logged values over training, with their spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmkd_logit.visualization.run_log import Curve
from mmkd_logit.visualization.style import (
    add_legend,
    make_panels,
    mark_neutral,
    model_styles,
    printed,
    wrapped,
)

# The value that neither helps nor hurts, by group of logged values.
_NEUTRAL = {'grad_cos': (0.0, 'unrelated')}
# Beyond this factor between the largest and the smallest value, a scale is logarithmic.
_WIDE = 100.0


@printed
def plot_curves(
    panels: Mapping[str, Mapping[str, Curve]], share_y: bool = False
) -> Figure:
    """Plot curves with a band of one standard deviation on either side.

    Args:
        panels (Mapping[str, Mapping[str, Curve]]): The curves of each panel by label,
            with the panels by title. A label looks the same in all panels, see
            :func:`model_styles`.
        share_y (bool): Whether all panels have the same vertical scale. Defaults to
            False.

    Returns:
        Figure: One legend for all panels. The scale of a panel is logarithmic if its
        values are positive and span more than a factor of 100.
    """
    labels = dict.fromkeys(name for curves in panels.values() for name in curves)
    styles = model_styles(labels)
    means = [
        np.concatenate([curve.mean for curve in curves.values()])
        for curves in panels.values()
    ]
    if share_y:
        means = [np.concatenate(means)] * len(panels)
    figure, axes = make_panels(len(panels))
    handles = {}
    for axis, (title, curves), values in zip(axes, panels.items(), means):
        axis.set_title(wrapped(title))
        if share_y:
            axis.sharey(axes[0])
        for label, curve in curves.items():
            place = list(labels).index(label)
            handles[label] = draw_curve(axis, curve, styles[label], place)
        _set_scale(axis, values)
        groups = {name.partition('/')[0] for name in (title, *curves)}
        for value, text in (_NEUTRAL[each] for each in groups & set(_NEUTRAL)):
            mark_neutral(axis, value, text)
        axis.set_xlabel(' / '.join(dict.fromkeys(c.unit for c in curves.values())))
    add_legend(figure, handles)
    return figure


def draw_curve(axis: Axes, curve: Curve, style: dict[str, Any], place: int) -> Line2D:
    """Draw one curve: mean, markers, and the band of one standard deviation.

    Args:
        axis (Axes): The panel.
        curve (Curve): The curve.
        style (dict[str, Any]): Keyword arguments of ``Axes.plot``.
        place (int): Its position in the legend, which determines where its markers are.

    Returns:
        Line2D: The handle for a legend.
    """
    # Stagger the markers, so that overlapping lines can be told apart.
    every = max(1, len(curve.steps) // 7)
    (line,) = axis.plot(
        curve.steps, curve.mean, markevery=(place % every, every), **style
    )
    if len(curve.values) > 1:
        low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
        colour = style['color']
        axis.fill_between(curve.steps, low, high, color=colour, alpha=0.18, linewidth=0)
    return line


def _set_scale(axis: Axes, values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if not len(values):
        return
    if 0 < values.min() < values.max() / _WIDE:
        axis.set_yscale('log')
    elif values.min() < 0 < values.max():
        mark_neutral(axis, 0)
