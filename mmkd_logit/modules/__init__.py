"""Losses, logit queue, heads and gradient alignment as modules that need only torch.

``mmkd_logit.models`` registers the losses, heads and row transforms for use in configs.
"""

from mmkd_logit.modules.align_backward import align_backward
from mmkd_logit.modules.heads import (
    ConvLogitHead,
    LinearLogitHead,
    LogitHead,
    MLPLogitHead,
)
from mmkd_logit.modules.logit_tap import LogitTap
from mmkd_logit.modules.losses import (
    BinaryKLLoss,
    BinaryKLNormLoss,
    CTKDLoss,
    CWDLoss,
    DISTLoss,
    DKDLoss,
    GKLLoss,
    KDLoss,
    KendallTauLoss,
    LogitLoss,
    LogitQueue,
    MCLDLoss,
    MLKDLoss,
    NKDLoss,
    NormKDLoss,
    RLDLoss,
    RowTransform,
    TTMLoss,
    WSLDLoss,
    WTTMLoss,
)
from mmkd_logit.structures import LogitRows

__all__ = [
    'BinaryKLLoss',
    'BinaryKLNormLoss',
    'CTKDLoss',
    'CWDLoss',
    'ConvLogitHead',
    'DISTLoss',
    'DKDLoss',
    'GKLLoss',
    'KDLoss',
    'KendallTauLoss',
    'LinearLogitHead',
    'LogitHead',
    'LogitLoss',
    'LogitQueue',
    'LogitRows',
    'LogitTap',
    'MCLDLoss',
    'MLKDLoss',
    'MLPLogitHead',
    'NKDLoss',
    'NormKDLoss',
    'RLDLoss',
    'RowTransform',
    'TTMLoss',
    'WSLDLoss',
    'WTTMLoss',
    'align_backward',
]
