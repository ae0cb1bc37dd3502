"""Label maps side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmkd_logit.visualization.style import add_legend, printed

# Pixels without a class get the first of these colours that no class uses.
_IGNORED = (0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 255)


@printed
def plot_segmentations(
    images: Sequence[np.ndarray],
    label_maps: Mapping[str, Sequence[np.ndarray]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> Figure:
    """Plot one row per image: the image, then its label map from each source.

    Args:
        images (Sequence[np.ndarray]): RGB images of shape (H, W, 3), type uint8; sizes
            may differ.
        label_maps (Mapping[str, Sequence[np.ndarray]]): For each source, such as
            'truth' or 'student', a map of class indices (H, W) for each image. Any
            other value counts as ignored.
        classes (Sequence[str]): Names of the classes.
        palette (Sequence[Sequence[int]]): RGB colour of each class, 0 to 255.

    Returns:
        Figure: Has a legend of the classes that occur, and of ignored pixels.
    """
    taken = {tuple(colour) for colour in palette}
    none = next((each for each in _IGNORED if each not in taken), _IGNORED[0])
    colours = np.array([*palette, none], np.uint8)
    label_maps = {
        source: [_known(each, len(palette)) for each in maps]
        for source, maps in label_maps.items()
    }
    titles = ['image', *label_maps]
    heights = [2.6 * image.shape[0] / image.shape[1] for image in images]
    figure = Figure(
        figsize=(2.6 * len(titles), sum(heights) + 0.4), layout='constrained'
    )
    axes = figure.subplots(
        len(images), len(titles), squeeze=False, height_ratios=heights
    )
    for row, image in enumerate(images):
        shown = [image, *(colours[maps[row]] for maps in label_maps.values())]
        for axis, picture in zip(axes[row], shown):
            axis.imshow(picture, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set(visible=True, color='0.6')
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)
    names = [*classes, 'ignored']
    present = sorted({i for maps in label_maps.values() for i in _indices(maps)})
    add_legend(
        figure,
        {names[i]: Patch(facecolor=colours[i] / 255, edgecolor='0.6') for i in present},
    )
    return figure


def _known(label_map: np.ndarray, classes: int) -> np.ndarray:
    """Give pixels without a class the index after the last class."""
    return np.where((label_map >= 0) & (label_map < classes), label_map, classes)


def _indices(maps: Sequence[np.ndarray]) -> set[int]:
    """Return the class indices that occur in maps, which may differ in size."""
    return {int(index) for each in maps for index in np.unique(each)}
