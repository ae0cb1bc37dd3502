"""One thin class per method over ``mmkd_logit.functional``."""

from mmkd_logit.modules.losses.base import LogitLoss, touch
from mmkd_logit.modules.losses.binary_kl_loss import BinaryKLLoss, BinaryKLNormLoss
from mmkd_logit.modules.losses.by_strips import losses_of
from mmkd_logit.modules.losses.ctkd_loss import CTKDLoss
from mmkd_logit.modules.losses.cwd_loss import CWDLoss
from mmkd_logit.modules.losses.dist_loss import DISTLoss
from mmkd_logit.modules.losses.dkd_loss import DKDLoss
from mmkd_logit.modules.losses.gkl_loss import GKLLoss
from mmkd_logit.modules.losses.kd_loss import KDLoss
from mmkd_logit.modules.losses.kendall_tau_loss import KendallTauLoss
from mmkd_logit.modules.losses.logit_queue import LogitQueue
from mmkd_logit.modules.losses.mcld_loss import MCLDLoss
from mmkd_logit.modules.losses.mlkd_loss import MLKDLoss
from mmkd_logit.modules.losses.nkd_loss import NKDLoss
from mmkd_logit.modules.losses.normkd_loss import NormKDLoss
from mmkd_logit.modules.losses.rld_loss import RLDLoss
from mmkd_logit.modules.losses.row_transforms import (
    TRANSFORMS,
    RowTransform,
    ScaleByStd,
    Standardize,
    StandardizeClasses,
    SwapErrors,
)
from mmkd_logit.modules.losses.ttm_loss import TTMLoss, WTTMLoss
from mmkd_logit.modules.losses.wsld_loss import WSLDLoss

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
    'LogitQueue',
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
    'TRANSFORMS',
    'TTMLoss',
    'WSLDLoss',
    'WTTMLoss',
    'losses_of',
    'touch',
]
