"""The maths of the methods: pure functions of tensors. Needs torch only."""

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
from mmkd_logit.functional.gradient_shares import gradient_shares
from mmkd_logit.functional.kd import kd_loss
from mmkd_logit.functional.kendall_tau import kendall_tau, kendall_tau_loss
from mmkd_logit.functional.lump_classes import lump_classes
from mmkd_logit.functional.neural_collapse import NeuralCollapse, neural_collapse
from mmkd_logit.functional.standardize import standardize

__all__ = [
    'CalibrationBins',
    'NeuralCollapse',
    'align_gradients',
    'binary_kl_loss',
    'binary_kl_norm_loss',
    'calibration_bins',
    'category_contrast_loss',
    'class_correlation',
    'gradient_cosine',
    'gradient_shares',
    'instance_contrast_loss',
    'kd_loss',
    'kendall_tau',
    'kendall_tau_loss',
    'mean_off_diagonal',
    'lump_classes',
    'neural_collapse',
    'sample_contrast_loss',
    'standardize',
]
