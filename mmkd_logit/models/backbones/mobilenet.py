"""MobileNets, as used in the distillation papers."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

# Channels and stride of each depthwise separable convolution.
_V1_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
# Expansion, channels, blocks and first stride of each stage.
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_V2_STEM_CHANNELS = 32
_V2_LAST_CHANNELS = 1280


def _conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
) -> list[nn.Module]:
    padding = kernel_size // 2
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


@MODELS.register_module()
class MobileNetV1(BaseModule):
    """MobileNet of full width, a student in the papers' ImageNet experiments.

    Parameters have mdistiller's names.

    Source: https://arxiv.org/abs/1704.04861; in the form of
    https://github.com/megvii-research/mdistiller

    Args:
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            None, torch's own one, as in the released code.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import MobileNetV1
        >>> MobileNetV1()(torch.zeros(1, 3, 64, 64))[0].shape
        torch.Size([1, 1024, 2, 2])
    """

    def __init__(
        self, in_channels: int = 3, init_cfg: dict | list[dict] | None = None
    ) -> None:
        super().__init__(init_cfg)
        channels = 32
        layers = [nn.Sequential(*_conv_bn_relu(in_channels, channels, 3, 2))]
        for out_channels, stride in _V1_LAYERS:
            layers.append(
                nn.Sequential(
                    *_conv_bn_relu(channels, channels, 3, stride, groups=channels),
                    *_conv_bn_relu(channels, out_channels, 1),
                )
            )
            channels = out_channels
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the feature map of the last layer.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, 1024, H / 32, W / 32), rounded up.
        """
        return (self.model(x),)


class _InvertedResidual(BaseModule):
    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *_conv_bn_relu(in_channels, hidden, 1),
            *_conv_bn_relu(hidden, hidden, 3, stride, groups=hidden),
            *_conv_bn_relu(hidden, out_channels, 1)[:-1],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


@MODELS.register_module()
class CIFARMobileNetV2(BaseModule):
    """MobileNetV2 for small images, of half width as in the distillation papers.

    Unlike the ImageNet network it has stride 1 in its second stage, a total stride of
    16, ReLU instead of ReLU6, and an expanding convolution even in its first block,
    where the factor is 1. Parameters have the names of the released code.

    Source: https://arxiv.org/abs/1801.04381; in the form of
    https://github.com/HobbitLong/RepDistiller

    Args:
        widen_factor (float): Factor of all channel counts; the last layer has at
            least 1280. Defaults to 0.5.
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            He's normal initialization for convolutions.

    Raises:
        ValueError: If a stage would have no channel.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import CIFARMobileNetV2
        >>> CIFARMobileNetV2()(torch.zeros(1, 3, 32, 32))[0].shape
        torch.Size([1, 1280, 2, 2])
    """

    def __init__(
        self,
        widen_factor: float = 0.5,
        in_channels: int = 3,
        # As in the released code, fan_out counts all output channels of depthwise
        # convolutions too, although each depends on only one input channel.
        init_cfg: dict | list[dict] | None = [
            dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        widths = [int(widen_factor * each) for _, each, _, _ in _V2_STAGES]
        if widths[0] < 1:
            raise ValueError(
                f'widen_factor={widen_factor} leaves no channel in the first stage; '
                f'expected at least 1 / {_V2_STAGES[0][1]}.'
            )
        channels = int(widen_factor * _V2_STEM_CHANNELS)
        self.conv1 = nn.Sequential(*_conv_bn_relu(in_channels, channels, 3, 2))
        stages = []
        for out_channels, (expansion, _, blocks, first_stride) in zip(
            widths, _V2_STAGES
        ):
            layers = []
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                layers.append(
                    _InvertedResidual(channels, out_channels, stride, expansion)
                )
                channels = out_channels
            stages.append(nn.Sequential(*layers))
        self.blocks = nn.Sequential(*stages)
        last_channels = max(_V2_LAST_CHANNELS, int(widen_factor * _V2_LAST_CHANNELS))
        self.conv2 = nn.Sequential(*_conv_bn_relu(channels, last_channels, 1))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the feature map of the last layer.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, channels, H / 16, W / 16), rounded up;
            1280 channels, multiplied by ``widen_factor`` if that is above 1.
        """
        return (self.conv2(self.blocks(self.conv1(x))),)
