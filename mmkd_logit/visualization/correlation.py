"""Differences between the class correlations of students and their teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from mmkd_logit.functional import mean_off_diagonal
from mmkd_logit.visualization.style import make_panels, printed, wrapped

# More names than this do not fit beside a panel.
_MOST_NAMES = 20


@printed
def plot_correlation(
    differences: Mapping[str, Tensor], teacher: str, classes: Sequence[str]
) -> Figure:
    """Plot the difference of each student's class correlations from the teacher's.

    Args:
        differences (Mapping[str, Tensor]): For each student, the absolute
            differences of the correlations, shape (C, C).
        teacher (str): Name of the teacher.
        classes (Sequence[str]): Names of the C classes.

    Returns:
        Figure: One panel per student, with the mean difference in its title, and one
        scale for all panels; darker is further apart.
    """
    largest = torch.stack([each.max() for each in differences.values()]).max().item()
    norm = Normalize(0, largest or 1)
    scale = ScalarMappable(norm, cmap='Greys')
    figure, axes = make_panels(len(differences), columns=3, width=3.0, height=3.3)
    for axis, (title, values) in zip(axes, differences.items()):
        axis.imshow(values, cmap=scale.cmap, norm=norm, interpolation='nearest')
        axis.set_title(wrapped(f'{title}\nmean {mean_off_diagonal(values):.4f}'))
        axis.grid(False)
        axis.spines[:].set_visible(True)
        if len(classes) <= _MOST_NAMES:
            places = range(len(classes))
            long = max(map(len, classes)) > 2
            axis.set_xticks(places, classes, rotation=90 if long else 0)
            axis.set_yticks(places, classes)
    figure.colorbar(
        scale,
        ax=axes,
        location='bottom',
        fraction=0.05,
        aspect=40,
        label=f'|correlation of two logits, student - {teacher}|; 0: as the teacher',
    )
    return figure
