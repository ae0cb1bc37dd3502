"""Features in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from mmkd_logit.visualization.style import line_style, make_panels, printed


def embed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of features, started from their principal components.

    Source: https://jmlr.org/papers/v9/vandermaaten08a.html

    Args:
        features (np.ndarray): Shape (N, D) with N of 3 or more.
        seed (int): Seed of its random numbers. Defaults to 0.

    Returns:
        np.ndarray: Points of the plane, shape (N, 2).

    Raises:
        ValueError: If there are fewer than 3 features.
    """
    from sklearn.manifold import TSNE

    if len(features) < 3:
        raise ValueError(
            f't-SNE needs 3 or more images, but got {len(features)}. Raise --samples, '
            'or choose classes that occur.'
        )
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(init='pca', perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(features)


@printed
def plot_features(
    points: Mapping[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]
) -> Figure:
    """One panel a model; the mark of an image is the number of its class.

    A large number is where the middle of its class is.

    Args:
        points (Mapping[str, np.ndarray]): For each model, points of shape (N, 2).
        labels (np.ndarray): Class index of each point, shape (N,).
        classes (Sequence[str]): Names of the classes, in the order of the indices.

    Returns:
        Figure: With a legend of the classes, if their names are not the numbers.
    """
    present = np.unique(labels).tolist()
    marks = [(index, _mark(index, place)) for place, index in enumerate(present)]
    named = any(classes[index] != str(index) for index in present)
    legend_lines = -(-len(present) // 4) if named else 0
    figure, axes = make_panels(len(points), height=3.1, legend_lines=legend_lines)
    for axis, (title, where) in zip(axes, points.items()):
        axis.set_title(title)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(True)
        for index, mark in marks:
            axis.plot(*where[labels == index].T, **mark, alpha=0.5)
        for index in present:
            x, y = np.median(where[labels == index], axis=0)
            text = axis.text(x, y, str(index), size=13, weight='bold', ha='center')
            text.set(
                va='center', path_effects=[withStroke(linewidth=3, foreground='w')]
            )
    if named:
        handles = [Line2D([], [], label=classes[i], **mark) for i, mark in marks]
        figure.legend(handles=handles, loc='outside lower center', ncols=4)
    return figure


def _mark(index: int, place: int) -> dict:
    return {
        'color': line_style(place)['color'],
        'marker': f'${index}$',
        'linestyle': 'none',
        'markersize': 4 + 2 * (len(str(index)) - 1),
        'markeredgewidth': 0.4,
    }
