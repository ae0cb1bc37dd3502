"""One thin registered class a method, over ``mmkd_logit.functional``."""

from mmkd_logit.models.losses.base import LogitLoss, touch
from mmkd_logit.models.losses.binary_kl_loss import BinaryKLLoss, BinaryKLNormLoss
from mmkd_logit.models.losses.ctkd_loss import CTKDLoss
from mmkd_logit.models.losses.cwd_loss import CWDLoss
from mmkd_logit.models.losses.dist_loss import DISTLoss
from mmkd_logit.models.losses.kd_loss import KDLoss
from mmkd_logit.models.losses.kendall_tau_loss import KendallTauLoss
from mmkd_logit.models.losses.mcld_loss import MCLDLoss
from mmkd_logit.models.losses.mlkd_loss import MLKDLoss
from mmkd_logit.models.losses.row_transforms import RowTransform, Standardize

__all__ = [
    'BinaryKLLoss',
    'BinaryKLNormLoss',
    'CTKDLoss',
    'CWDLoss',
    'DISTLoss',
    'KDLoss',
    'KendallTauLoss',
    'LogitLoss',
    'MCLDLoss',
    'MLKDLoss',
    'RowTransform',
    'Standardize',
    'touch',
]
