"""The figures of the analysis tools."""

from mmkd_logit.visualization.class_iou import (
    PixelScores,
    plot_class_iou,
    score_rows,
)
from mmkd_logit.visualization.comparison import plot_comparison
from mmkd_logit.visualization.correlation import plot_correlation
from mmkd_logit.visualization.curves import draw_curve, plot_curves
from mmkd_logit.visualization.features import embed, plot_features
from mmkd_logit.visualization.ranking import plot_ranking
from mmkd_logit.visualization.run_log import (
    Curve,
    RunLog,
    find_keys,
    log_files,
    read_curve,
    read_curves,
)
from mmkd_logit.visualization.seeds import plot_seeds
from mmkd_logit.visualization.segmentation import plot_segmentations
from mmkd_logit.visualization.style import (
    line_style,
    make_panels,
    model_styles,
    printed,
    save,
)

__all__ = [
    'Curve',
    'PixelScores',
    'RunLog',
    'draw_curve',
    'embed',
    'find_keys',
    'line_style',
    'log_files',
    'make_panels',
    'model_styles',
    'plot_class_iou',
    'plot_comparison',
    'plot_correlation',
    'plot_curves',
    'plot_features',
    'plot_ranking',
    'plot_seeds',
    'plot_segmentations',
    'printed',
    'read_curve',
    'read_curves',
    'save',
    'score_rows',
]
