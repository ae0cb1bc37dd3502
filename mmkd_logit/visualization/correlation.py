"""Where students relate the classes otherwise than their teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmkd_logit.visualization.style import make_panels, printed

# More names than these do not fit beside a panel.
_MOST_NAMES = 20


def mean_difference(differences: np.ndarray) -> float:
    """Mean over the pairs of different classes.

    Args:
        differences (np.ndarray): Shape (C, C), symmetric.

    Returns:
        float: The mean without the diagonal, which compares a class with itself.
    """
    return float(differences[~np.eye(len(differences), dtype=bool)].mean())


@printed
def plot_correlation(
    differences: Mapping[str, np.ndarray], teacher: str, classes: Sequence[str]
) -> Figure:
    """One panel a student: how far its class correlations are from the teacher's.

    Args:
        differences (Mapping[str, np.ndarray]): For each student, the absolute
            differences of the correlations, shape (C, C).
        teacher (str): What the teacher is called.
        classes (Sequence[str]): Names of the C classes.

    Returns:
        Figure: With the mean difference in the titles, and one scale for all panels;
        darker is further apart.
    """
    largest = max(float(each.max()) for each in differences.values())
    figure, axes = make_panels(len(differences), columns=3, width=3.0, height=3.3)
    for axis, (title, values) in zip(axes, differences.items()):
        image = axis.imshow(
            values, cmap='Greys', vmin=0, vmax=largest or 1, interpolation='nearest'
        )
        axis.set_title(f'{title}\nmean {mean_difference(values):.4f}')
        axis.grid(False)
        axis.spines[:].set_visible(True)
        if len(classes) <= _MOST_NAMES:
            places = range(len(classes))
            long = max(map(len, classes)) > 2
            axis.set_xticks(places, classes, rotation=90 if long else 0)
            axis.set_yticks(places, classes)
    figure.colorbar(
        image,
        ax=axes,
        location='bottom',
        fraction=0.05,
        aspect=40,
        label=f'|correlation of two logits, student - {teacher}|',
    )
    return figure
