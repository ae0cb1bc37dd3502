"""Networks of the distillation papers that the toolboxes lack.

The papers' ResNet-18 and ResNet-50 for CIFAR-100 are mmpretrain's ``ResNet_CIFAR`` with
``zero_init_residual=False``; its ``downsample`` is ``shortcut`` in their checkpoints.
"""

from mmkd_logit.models.backbones.cifar_resnet import CIFARResNet
from mmkd_logit.models.backbones.cifar_shufflenet import (
    CIFARShuffleNetV1,
    CIFARShuffleNetV2,
)
from mmkd_logit.models.backbones.cifar_vgg import CIFARVGG
from mmkd_logit.models.backbones.cifar_wide_resnet import CIFARWideResNet
from mmkd_logit.models.backbones.mobilenet import CIFARMobileNetV2, MobileNetV1

__all__ = [
    'CIFARMobileNetV2',
    'CIFARResNet',
    'CIFARShuffleNetV1',
    'CIFARShuffleNetV2',
    'CIFARVGG',
    'CIFARWideResNet',
    'MobileNetV1',
]
