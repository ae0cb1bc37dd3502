"""Distiller, teacher, heads, losses, backbones and the linear probe."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.models import registered  # noqa: F401
from mmkd_logit.models.backbones import (
    CIFARVGG,
    CIFARMobileNetV2,
    CIFARResNet,
    CIFARShuffleNetV1,
    CIFARShuffleNetV2,
    CIFARWideResNet,
    MobileNetV1,
)
from mmkd_logit.models.classifiers import LinearProbe
from mmkd_logit.models.distillers import LogitDistiller
from mmkd_logit.models.teachers import Teacher, Teachers
from mmkd_logit.modules import (
    BinaryKLLoss,
    BinaryKLNormLoss,
    ConvLogitHead,
    CTKDLoss,
    CWDLoss,
    DISTLoss,
    DKDLoss,
    GKLLoss,
    KDLoss,
    KendallTauLoss,
    LinearLogitHead,
    LogitLoss,
    MCLDLoss,
    MLKDLoss,
    MLPLogitHead,
    NKDLoss,
    NormKDLoss,
    RLDLoss,
    TTMLoss,
    WSLDLoss,
    WTTMLoss,
)

__all__ = [
    'BinaryKLLoss',
    'BinaryKLNormLoss',
    'CIFARMobileNetV2',
    'CIFARResNet',
    'CIFARShuffleNetV1',
    'CIFARShuffleNetV2',
    'CIFARVGG',
    'CIFARWideResNet',
    'CTKDLoss',
    'CWDLoss',
    'ConvLogitHead',
    'DISTLoss',
    'DKDLoss',
    'GKLLoss',
    'KDLoss',
    'KendallTauLoss',
    'LinearLogitHead',
    'LinearProbe',
    'LogitDistiller',
    'LogitLoss',
    'MCLDLoss',
    'MLKDLoss',
    'MLPLogitHead',
    'MobileNetV1',
    'NKDLoss',
    'NormKDLoss',
    'RLDLoss',
    'TTMLoss',
    'Teacher',
    'Teachers',
    'WSLDLoss',
    'WTTMLoss',
]
