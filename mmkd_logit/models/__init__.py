"""Distiller, teacher, heads, losses and backbones."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.models.backbones import (
    CIFARVGG,
    CIFARMobileNetV2,
    CIFARResNet,
    CIFARShuffleNetV1,
    CIFARShuffleNetV2,
    CIFARWideResNet,
    MobileNetV1,
)
from mmkd_logit.models.distillers import LogitDistiller
from mmkd_logit.models.heads import ConvLogitHead, LinearLogitHead, MLPLogitHead
from mmkd_logit.models.losses import (
    BinaryKLLoss,
    BinaryKLNormLoss,
    KDLoss,
    KendallTauLoss,
    LogitLoss,
    MCLDLoss,
)
from mmkd_logit.models.teachers import Teacher, Teachers

__all__ = [
    'BinaryKLLoss',
    'BinaryKLNormLoss',
    'CIFARMobileNetV2',
    'CIFARResNet',
    'CIFARShuffleNetV1',
    'CIFARShuffleNetV2',
    'CIFARVGG',
    'CIFARWideResNet',
    'ConvLogitHead',
    'KDLoss',
    'KendallTauLoss',
    'LinearLogitHead',
    'LogitDistiller',
    'LogitLoss',
    'MCLDLoss',
    'MLPLogitHead',
    'MobileNetV1',
    'Teacher',
    'Teachers',
]
