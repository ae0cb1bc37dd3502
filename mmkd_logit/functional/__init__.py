"""Mathematics of the methods: pure functions of tensors that need torch only."""

from mmkd_logit.functional.align_gradients import align_gradients, gradient_cosine
from mmkd_logit.functional.binary_kl import binary_kl_loss, binary_kl_norm_loss
from mmkd_logit.functional.calibration import CalibrationBins, calibration_bins
from mmkd_logit.functional.class_correlation import (
    class_correlation,
    mean_off_diagonal,
)
from mmkd_logit.functional.contrast import (
    category_contrast_loss,
    instance_contrast_loss,
    sample_contrast_loss,
)
from mmkd_logit.functional.ctkd import ctkd_loss
from mmkd_logit.functional.cwd import cwd_loss
from mmkd_logit.functional.dist_loss import dist_loss
from mmkd_logit.functional.dkd import dkd_loss
from mmkd_logit.functional.gkl import gkl_loss
from mmkd_logit.functional.gradient_shares import gradient_shares
from mmkd_logit.functional.kd import kd_loss
from mmkd_logit.functional.kendall_tau import kendall_tau, kendall_tau_loss
from mmkd_logit.functional.lump_classes import lump_classes
from mmkd_logit.functional.mlkd import (
    batch_correlation_loss,
    class_correlation_loss,
    multi_temperature_kd_loss,
)
from mmkd_logit.functional.neural_collapse import NeuralCollapse, neural_collapse
from mmkd_logit.functional.nkd import nkd_loss
from mmkd_logit.functional.normkd import normkd_loss
from mmkd_logit.functional.rld import rld_loss
from mmkd_logit.functional.standardize import (
    scale_by_std,
    standardize,
    standardize_classes,
)
from mmkd_logit.functional.swap_errors import swap_errors
from mmkd_logit.functional.ttm import ttm_loss, wttm_loss
from mmkd_logit.functional.wsld import wsld_loss

__all__ = [
    'CalibrationBins',
    'NeuralCollapse',
    'align_gradients',
    'batch_correlation_loss',
    'binary_kl_loss',
    'binary_kl_norm_loss',
    'calibration_bins',
    'category_contrast_loss',
    'class_correlation',
    'class_correlation_loss',
    'ctkd_loss',
    'cwd_loss',
    'dist_loss',
    'dkd_loss',
    'gkl_loss',
    'gradient_cosine',
    'gradient_shares',
    'instance_contrast_loss',
    'kd_loss',
    'kendall_tau',
    'kendall_tau_loss',
    'mean_off_diagonal',
    'lump_classes',
    'multi_temperature_kd_loss',
    'neural_collapse',
    'nkd_loss',
    'normkd_loss',
    'rld_loss',
    'sample_contrast_loss',
    'scale_by_std',
    'standardize',
    'standardize_classes',
    'swap_errors',
    'ttm_loss',
    'wsld_loss',
    'wttm_loss',
]
