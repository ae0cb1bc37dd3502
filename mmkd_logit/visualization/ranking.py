"""Gradients of losses by rank, and rankings that a divergence does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from mmkd_logit.visualization.style import (
    add_legend,
    mark_neutral,
    model_styles,
    printed,
    wrapped,
)

_COLUMNS = 4
_HEIGHT = 2.6


@printed
def plot_ranking(
    shares: Mapping[str, Mapping[str, Tensor]],
    divergence: Mapping[str, Tensor],
    tau: Mapping[str, Tensor],
) -> Figure:
    """Plot the gradient by rank in the teacher, and Kendall's tau of each row.

    Args:
        shares (Mapping[str, Mapping[str, Tensor]]): For each loss and each student, the
            share of the gradient that goes to each rank of the teacher, shape (C,).
        divergence (Mapping[str, Tensor]): For each student, the KL divergence of each
            row from the teacher, shape (N,).
        tau (Mapping[str, Tensor]): For each student, Kendall's tau of its logits and
            the teacher's for each row, shape (N,).

    Returns:
        Figure: On top, one panel per loss with a line per student. Below, one panel per
        student, at most four side by side, with a point per row: its KL divergence from
        the teacher and its Kendall's tau.
    """
    styles = model_styles(tau)
    columns = min(_COLUMNS, len(tau))
    below = -(-len(tau) // columns)
    width = max(3.0 * len(shares), 2.4 * columns)
    figure = Figure(figsize=(width, _HEIGHT * (1 + below)), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, below])
    upper, lower = parts
    losses = upper.subplots(1, len(shares), squeeze=False, sharey=True)[0]
    for axis, (loss, by_student) in zip(losses, shares.items()):
        axis.set_title(loss)
        axis.set_xlabel("rank in the teacher's probabilities")
        for label, share in by_student.items():
            every = max(1, len(share) // 10)
            ranks = range(1, len(share) + 1)
            axis.plot(ranks, share, markevery=every, **styles[label])
        mark_neutral(axis, 1 / len(share), 'even')
    losses[0].set_ylabel('share of gradient')
    losses[0].set_ylim(0, None)
    panels = lower.subplots(below, columns, squeeze=False, sharex=True, sharey=True)
    for axis, (label, taus) in zip(panels.flat, tau.items()):
        points = {'linestyle': '', 'markersize': 3, 'alpha': 0.4}
        axis.plot(divergence[label], taus, **styles[label] | points)
        axis.set_title(wrapped(f'{label}\nmean {taus.mean():.3f}', 2.4))
        axis.set_xscale('log')
    for axis in panels.flat[len(tau) :]:
        axis.remove()
    lower.supxlabel('KL divergence of a row', size=9)
    lower.supylabel("Kendall's tau of a row", size=9)
    add_legend(
        figure, {label: Line2D([], [], **style) for label, style in styles.items()}
    )
    return figure
