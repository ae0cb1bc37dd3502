"""Networks of the papers that the toolboxes lack."""

from mmkd_logit.models.backbones.cifar_resnet import CIFARResNet

__all__ = ['CIFARResNet']
