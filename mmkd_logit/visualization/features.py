"""Two-dimensional embeddings of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from mmkd_logit.visualization.style import (
    add_legend,
    line_style,
    make_panels,
    printed,
    wrapped,
)

# A legend of more classes than this is taller than the panels.
_MOST_NAMES = 40


def embed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Embed features in the plane by t-SNE, initialized by principal components.

    Source: https://jmlr.org/papers/v9/vandermaaten08a.html

    Args:
        features (np.ndarray): Shape (N, D), N >= 3.
        seed (int): Random seed. Defaults to 0.

    Returns:
        np.ndarray: Points in the plane, shape (N, 2).

    Raises:
        ValueError: If there are fewer than 3 features.
    """
    from sklearn.manifold import TSNE

    if len(features) < 3:
        raise ValueError(
            f't-SNE needs 3 or more images, but got {len(features)}. Increase '
            '--samples, or choose classes that occur.'
        )
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(init='pca', perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(features)


@printed
def plot_features(
    points: Mapping[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Plot one panel per model; the class of an image sets its colour and marker.

    The index of each class is printed at the median of its points.

    Args:
        points (Mapping[str, np.ndarray]): For each model, points of shape (N, 2).
        labels (np.ndarray): Class index of each point, shape (N,).
        classes (Sequence[str]): Names of the classes, in the order of the indices.

    Returns:
        Figure: Has a legend of the classes if there are at most 40.
    """
    present = np.unique(labels).tolist()
    marks = {
        index: line_style(place) | {'linestyle': 'none', 'markersize': 4}
        for place, index in enumerate(present)
    }
    figure, axes = make_panels(len(points), height=3.1)
    for axis, (title, where) in zip(axes, points.items()):
        axis.set_title(wrapped(title))
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(True)
        for index, mark in marks.items():
            axis.plot(*where[labels == index].T, **mark, alpha=0.5, markeredgewidth=0)
        for index in present:
            x, y = np.median(where[labels == index], axis=0)
            text = axis.text(x, y, str(index), size=9, weight='bold', ha='center')
            text.set(
                va='center', path_effects=[withStroke(linewidth=2, foreground='w')]
            )
    if len(present) > _MOST_NAMES:
        return figure
    handles = {_numbered(i, classes[i]): Line2D([], [], **marks[i]) for i in present}
    add_legend(figure, handles)
    return figure


def _numbered(index: int, name: str) -> str:
    return name if name == str(index) else f'{index} {name}'
