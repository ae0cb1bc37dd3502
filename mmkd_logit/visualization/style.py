"""Common style of the figures: readable in print, also in grey."""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import count as from_
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that colour-blind readers can tell apart. The numbers of colours, markers and
# dashes have no common factor: 63 marks differ, and 36 lines differ in grey.
_COLOURS = '#000000', '#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'
_MARKERS = 'o', 's', '^', 'D', 'v', 'P', 'X', '<', '*'
_DASHES = '-', '--', '-.', ':'
# A label with one of these words gets the style of that index in every figure. What is
# added to a method precedes the method itself: 'KD + Kendall's tau' is not KD.
_PLACES = {'teacher': 0, 'plain': 1, "kendall's": 5, 'mcld': 4, 'dhkd': 3, 'kd': 2}
_FIRST_FREE = 2

printed = rc_context(
    {
        'axes.axisbelow': True,
        'axes.grid': True,
        'axes.labelsize': 9,
        'axes.spines.right': False,
        'axes.spines.top': False,
        'axes.titlesize': 10,
        'font.size': 9,
        'grid.color': '0.9',
        'legend.fontsize': 9,
        'legend.frameon': False,
        'lines.linewidth': 1.4,
        'lines.markersize': 5,
        'xtick.labelsize': 8,
        'ytick.labelsize': 8,
    }
)
"""Decorator for plotting functions: sets fonts and lines for print."""


def line_style(index: int) -> dict[str, Any]:
    """Return colour, dashes and marker of a line; each sets it off from its neighbours.

    Args:
        index (int): Position of the line in the legend.

    Returns:
        dict[str, Any]: Keyword arguments of ``Axes.plot``.
    """
    return {
        'color': _COLOURS[index % len(_COLOURS)],
        'linestyle': _DASHES[index % len(_DASHES)],
        'marker': _MARKERS[index % len(_MARKERS)],
    }


def model_styles(
    labels: Iterable[str], teacher: str | None = None, plain: str | None = None
) -> dict[str, dict[str, Any]]:
    """Choose a style for each model, equal in all panels, figures and tools.

    The teacher, the plain student, KD, DHKD, MCLD and Kendall's tau are recognized by a
    word in their labels; if two labels contain it, the shorter counts. Any other label
    gets the first free style.

    Args:
        labels (Iterable[str]): Labels of the models.
        teacher (str, optional): Label of the teacher, whatever its words. Defaults to
            None.
        plain (str, optional): Label of the plain student, likewise. Defaults to None.

    Returns:
        dict[str, dict[str, Any]]: For each label, keyword arguments of ``Axes.plot``.

    Example:
        >>> from mmkd_logit.visualization import model_styles
        >>> model_styles(['teacher', 'DHKD'])['DHKD']['color']
        '#009e73'
        >>> model_styles(['plain student', 'mine', 'DHKD student'])['mine']['color']
        '#0072b2'
    """
    labels = list(labels)
    places: dict[str, int] = {}
    if teacher in labels:
        places[teacher] = 0
    if plain in labels:
        places[plain] = 1
    for label in sorted(labels, key=lambda each: len(each.split())):
        place = _known_place(label)
        if label in places or place is None or place in places.values():
            continue
        places[label] = place
    free = (i for i in from_(_FIRST_FREE) if i not in set(places.values()))
    for label in labels:
        if label not in places:
            places[label] = next(free)
    return {label: line_style(places[label]) for label in labels}


def _known_place(label: str) -> int | None:
    words = re.findall(r"[a-z']+", label.lower())
    return next((place for word, place in _PLACES.items() if word in words), None)


def make_panels(
    count: int, columns: int = 3, width: float = 3.0, height: float = 2.5
) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels of equal size.

    Args:
        count (int): Number of panels.
        columns (int): Maximum number of panels side by side. Defaults to 3.
        width (float): Width of a panel in inches. Defaults to 3.0.
        height (float): Height of a panel in inches. Defaults to 2.5.

    Returns:
        tuple[Figure, list[Axes]]: The figure and its panels, row by row.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    size = max(width * columns, 4.0), height * rows
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def wrapped(title: str, width: float = 3.0) -> str:
    """Break a title into lines that fit above a panel.

    Args:
        title (str): The title.
        width (float): Width of the panel in inches. Defaults to 3.0.

    Returns:
        str: The title; its own line breaks are kept.
    """
    letters = int(11 * width)
    lines = (textwrap.wrap(line, letters) or [''] for line in title.splitlines())
    return '\n'.join(part for parts in lines for part in parts)


def add_legend(figure: Figure, handles: Mapping[str, Artist]) -> None:
    """Add a legend below all panels, and make the figure taller to fit it.

    Args:
        figure (Figure): The figure.
        handles (Mapping[str, Artist]): Legend handles by label.
    """
    letters = max(map(len, handles)) + 7
    columns = min(max(1, int(12 * figure.get_figwidth() / letters)), len(handles), 10)
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * rows + 0.1)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc='outside lower center',
        ncols=columns,
        handlelength=3.0,
    )


def mark_neutral(axis: Axes, value: float, text: str = '') -> None:
    """Mark the value that means no difference, such as a gain of 0.

    Args:
        axis (Axes): The panel.
        value (float): The value on the vertical axis.
        text (str): Its meaning. Defaults to ''.
    """
    axis.axhline(value, color='0.4', linewidth=0.8, zorder=1)
    axis.annotate(
        text,
        (0.99, value),
        xycoords=('axes fraction', 'data'),
        xytext=(0, 1),
        textcoords='offset points',
        ha='right',
        va='bottom',
        color='0.4',
        fontsize=7,
    )


def save(figure: Figure, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a figure and its numbers as CSV beside it, and print both paths.

    Args:
        figure (Figure): The figure.
        out (Path): File of the picture. The numbers go to the same name with the
            suffix .csv.
        rows (Sequence[Mapping[str, Any]]): The numbers; the keys are the columns.
    """
    figure.savefig(out, dpi=110)
    table = out.with_suffix('.csv')
    with table.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    print(f'{out}, numbers in {table}')
