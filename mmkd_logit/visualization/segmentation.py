"""Label maps side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmkd_logit.visualization.style import printed


@printed
def plot_segmentations(
    images: Sequence[np.ndarray],
    label_maps: Mapping[str, Sequence[np.ndarray]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> Figure:
    """One row an image: the image, then its label map by each source.

    Args:
        images (Sequence[np.ndarray]): RGB images of shape (H, W, 3), type uint8; each
            may have another size.
        label_maps (Mapping[str, Sequence[np.ndarray]]): For each source, such as
            'truth' or 'student', a map of class indices (H, W) for each image. What is
            no class is black.
        classes (Sequence[str]): Names of the classes.
        palette (Sequence[Sequence[int]]): RGB colour of each class, 0 to 255.

    Returns:
        Figure: With a legend of the classes that occur.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    titles = ['image', *label_maps]
    heights = [2.6 * image.shape[0] / image.shape[1] for image in images]
    figure = Figure(
        figsize=(2.6 * len(titles), sum(heights) + 0.7), layout='constrained'
    )
    axes = figure.subplots(
        len(images), len(titles), squeeze=False, height_ratios=heights
    )
    for row, image in enumerate(images):
        shown = [image, *(colours[maps[row]] for maps in label_maps.values())]
        for axis, picture in zip(axes[row], shown):
            axis.imshow(picture, interpolation='nearest')
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)
    present = sorted({i for maps in label_maps.values() for i in _indices(maps)})
    handles = [
        Patch(color=_unit(palette[index]), label=classes[index])
        for index in present
        if index < len(classes)
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=min(10, len(handles))
    )
    return figure


def _indices(maps: Sequence[np.ndarray]) -> set[int]:
    """Class indices that occur in maps, which may be of different sizes."""
    return {int(index) for each in maps for index in np.unique(each)}


def _unit(colour: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue
