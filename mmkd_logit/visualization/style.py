"""What the figures have in common: they can be read in print, also in grey."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that colour-blind readers tell apart. With as many markers as there are
# colours and another number of dashes, no two of 28 lines are the same in grey.
_COLOURS = '#000000', '#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'
_MARKERS = 'o', 's', '^', 'D', 'v', 'P', 'X'
_DASHES = '-', '--', '-.', ':'
_FORMATS = '.png', '.pdf', '.svg'

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
"""Decorator of a function that draws: fonts and lines for print."""


def line_style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of a line; each alone tells it from its neighbours.

    Args:
        index (int): Place of the line in the legend.

    Returns:
        dict[str, Any]: Keyword arguments of ``Axes.plot``.
    """
    return {
        'color': _COLOURS[index % len(_COLOURS)],
        'linestyle': _DASHES[index % len(_DASHES)],
        'marker': _MARKERS[index % len(_MARKERS)],
    }


def make_panels(
    count: int,
    columns: int = 3,
    width: float = 3.0,
    height: float = 2.5,
    legend_lines: int = 0,
) -> tuple[Figure, list[Axes]]:
    """A figure of panels of one size.

    Args:
        count (int): Number of panels.
        columns (int): Largest number of panels side by side. Defaults to 3.
        width (float): Width of a panel in inches. Defaults to 3.0.
        height (float): Height of a panel in inches. Defaults to 2.5.
        legend_lines (int): Lines of text of a legend below. Defaults to 0.

    Returns:
        tuple[Figure, list[Axes]]: The figure and its panels, row by row.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(
        figsize=(max(width * columns, 4.0), height * rows + 0.22 * legend_lines),
        layout='constrained',
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def picture_path(text: str) -> Path:
    """The file of a picture, as argument of a command.

    Args:
        text (str): What was typed.

    Returns:
        Path: A file in a folder that exists.

    Raises:
        argparse.ArgumentTypeError: If the folder does not exist, or the file has no
            suffix of a picture.
    """
    path = Path(text)
    if path.suffix.lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(
            f'{text!r} must end with one of {", ".join(_FORMATS)}.'
        )
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist.')
    return path


def save(figure: Figure, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a figure, and its numbers as CSV beside it, and say so.

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
