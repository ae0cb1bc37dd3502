"""The figures of the analysis tools."""

from mmkd_logit.visualization.ranking import plot_ranking
from mmkd_logit.visualization.segmentation import plot_segmentations

__all__ = ['plot_ranking', 'plot_segmentations']
