"""The maths of the methods: pure functions of tensors. Needs torch only."""

from mmkd_logit.functional.align_gradients import align_gradients, gradient_cosine
from mmkd_logit.functional.binary_kl import binary_kl_loss, binary_kl_norm_loss
from mmkd_logit.functional.contrast import (
    category_contrast_loss,
    instance_contrast_loss,
    sample_contrast_loss,
)
from mmkd_logit.functional.kd import kd_loss
from mmkd_logit.functional.kendall_tau import kendall_tau, kendall_tau_loss
from mmkd_logit.functional.standardize import standardize

__all__ = [
    'align_gradients',
    'binary_kl_loss',
    'binary_kl_norm_loss',
    'category_contrast_loss',
    'gradient_cosine',
    'instance_contrast_loss',
    'kd_loss',
    'kendall_tau',
    'kendall_tau_loss',
    'sample_contrast_loss',
    'standardize',
]
