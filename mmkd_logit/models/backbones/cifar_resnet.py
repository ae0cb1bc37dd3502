"""ResNets for small images, as used in the distillation papers."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

# Blocks per stage, channels of the stem, channels of the three stages.
_ARCHS = {
    'resnet8': (1, 16, (16, 32, 64)),
    'resnet14': (2, 16, (16, 32, 64)),
    'resnet20': (3, 16, (16, 32, 64)),
    'resnet32': (5, 16, (16, 32, 64)),
    'resnet44': (7, 16, (16, 32, 64)),
    'resnet56': (9, 16, (16, 32, 64)),
    'resnet110': (18, 16, (16, 32, 64)),
    'resnet8x4': (1, 32, (64, 128, 256)),
    'resnet32x4': (5, 32, (64, 128, 256)),
}


class _BasicBlock(BaseModule):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


@MODELS.register_module()
class CIFARResNet(BaseModule):
    """ResNet of 6n + 2 layers for small images, with projection shortcuts.

    A 3x3 stem without pooling and three stages at stride 1, 2 and 4. Parameters have
    the names of the public CIFAR-100 checkpoints of these networks.

    Source: https://arxiv.org/abs/1512.03385, section 4.2; in the sizes of
    https://github.com/megvii-research/mdistiller

    Args:
        arch (str): One of 'resnet8', 'resnet14', 'resnet20', 'resnet32', 'resnet44',
            'resnet56', 'resnet110', 'resnet8x4', 'resnet32x4'.
        in_channels (int): Channels of the images. Defaults to 3.
        widen_factor (float): Factor of all channel counts. Defaults to 1.0.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            He's normal initialization for convolutions.

    Raises:
        ValueError: If ``arch`` is unknown, or a stage would have no channel.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import CIFARResNet
        >>> CIFARResNet('resnet8')(torch.zeros(1, 3, 32, 32))[0].shape
        torch.Size([1, 64, 8, 8])
    """

    def __init__(
        self,
        arch: str,
        in_channels: int = 3,
        widen_factor: float = 1.0,
        init_cfg: dict | list[dict] | None = [
            dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        if arch not in _ARCHS:
            raise ValueError(f'arch must be one of {list(_ARCHS)}, but got {arch!r}.')
        blocks, stem_channels, stage_channels = _ARCHS[arch]
        stem_channels = int(widen_factor * stem_channels)
        widths = [int(widen_factor * each) for each in stage_channels]
        if stem_channels < 1:
            raise ValueError(
                f'widen_factor={widen_factor} leaves {arch} no channel in its stem.'
            )
        self.conv1 = nn.Conv2d(in_channels, stem_channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.relu = nn.ReLU(inplace=True)
        channels = stem_channels
        for stage, out_channels in enumerate(widths, start=1):
            layers = []
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layers.append(_BasicBlock(channels, out_channels, stride))
                channels = out_channels
            self.add_module(f'layer{stage}', nn.Sequential(*layers))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the feature map of the last stage.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, channels, H / 4, W / 4), rounded up;
            64 channels, or 256 for the x4 networks, times ``widen_factor``.
        """
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f'layer{stage}')(x)
        return (x,)
