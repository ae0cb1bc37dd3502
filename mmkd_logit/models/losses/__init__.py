"""One thin registered class a method, over ``mmkd_logit.functional``."""

from mmkd_logit.models.losses.base import LogitLoss, touch
from mmkd_logit.models.losses.binary_kl_loss import BinaryKLLoss, BinaryKLNormLoss
from mmkd_logit.models.losses.by_strips import losses_of
from mmkd_logit.models.losses.ctkd_loss import CTKDLoss
from mmkd_logit.models.losses.cwd_loss import CWDLoss
from mmkd_logit.models.losses.dist_loss import DISTLoss
from mmkd_logit.models.losses.dkd_loss import DKDLoss
from mmkd_logit.models.losses.gkl_loss import GKLLoss
from mmkd_logit.models.losses.kd_loss import KDLoss
from mmkd_logit.models.losses.kendall_tau_loss import KendallTauLoss
from mmkd_logit.models.losses.mcld_loss import MCLDLoss
from mmkd_logit.models.losses.mlkd_loss import MLKDLoss
from mmkd_logit.models.losses.nkd_loss import NKDLoss
from mmkd_logit.models.losses.normkd_loss import NormKDLoss
from mmkd_logit.models.losses.rld_loss import RLDLoss
from mmkd_logit.models.losses.row_transforms import (
    RowTransform,
    ScaleByStd,
    Standardize,
    StandardizeClasses,
    SwapErrors,
)
from mmkd_logit.models.losses.ttm_loss import TTMLoss, WTTMLoss
from mmkd_logit.models.losses.wsld_loss import WSLDLoss

__all__ = [
    'BinaryKLLoss',
    'BinaryKLNormLoss',
    'CTKDLoss',
    'CWDLoss',
    'DISTLoss',
    'DKDLoss',
    'GKLLoss',
    'KDLoss',
    'KendallTauLoss',
    'LogitLoss',
    'MCLDLoss',
    'MLKDLoss',
    'NKDLoss',
    'NormKDLoss',
    'RLDLoss',
    'RowTransform',
    'ScaleByStd',
    'Standardize',
    'StandardizeClasses',
    'SwapErrors',
    'TTMLoss',
    'WSLDLoss',
    'WTTMLoss',
    'losses_of',
    'touch',
]
