"""ShuffleNets for small images, as used in the distillation papers."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

_STEM_CHANNELS = 24
# Same in both networks; the first block of a stage has stride 2.
_STAGE_BLOCKS = (4, 8, 4)
_V1_GROUPS = 3
_V1_STAGE_CHANNELS = (240, 480, 960)
_V2_STAGE_CHANNELS = (116, 232, 464)
_V2_LAST_CHANNELS = 1024


def _pointwise(in_channels: int, out_channels: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of the groups of a map (N, C, H, W)."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class _V1Block(BaseModule):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if stride == 2:
            # The pooled input provides the other channels of the output.
            out_channels -= in_channels
        mid_channels = out_channels // 4
        # The stem has too few channels to split.
        self.groups = 1 if in_channels == _STEM_CHANNELS else _V1_GROUPS
        self.conv1 = _pointwise(in_channels, mid_channels, self.groups)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = _depthwise(mid_channels, stride)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = _pointwise(mid_channels, out_channels, _V1_GROUPS)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(3, stride, 1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        out = _shuffle(self.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.pool is None:
            return self.relu(out + x)
        return self.relu(torch.cat([out, self.pool(x)], dim=1))


@MODELS.register_module()
class CIFARShuffleNetV1(BaseModule):
    """ShuffleNet with three groups, for small images.

    A 1x1 stem without pooling and three stages at stride 2, 4 and 8. Unlike in the
    paper, a ReLU follows the depthwise convolutions. Parameters have the names of the
    released code.

    Source: https://arxiv.org/abs/1707.01083; in the form of
    https://github.com/HobbitLong/RepDistiller

    Args:
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            None, torch's own one, as in the released code.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import CIFARShuffleNetV1
        >>> CIFARShuffleNetV1()(torch.zeros(1, 3, 32, 32))[0].shape
        torch.Size([1, 960, 4, 4])
    """

    def __init__(
        self, in_channels: int = 3, init_cfg: dict | list[dict] | None = None
    ) -> None:
        super().__init__(init_cfg)
        channels = _STEM_CHANNELS
        self.conv1 = _pointwise(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        for stage, out_channels in enumerate(_V1_STAGE_CHANNELS, start=1):
            layers = []
            for block in range(_STAGE_BLOCKS[stage - 1]):
                stride = 2 if block == 0 else 1
                layers.append(_V1Block(channels, out_channels, stride))
                channels = out_channels
            self.add_module(f'layer{stage}', nn.Sequential(*layers))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the feature map of the last stage.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, 960, H / 8, W / 8), rounded up.
        """
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f'layer{stage}')(x)
        return (x,)


class _V2Block(BaseModule):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = _pointwise(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = _depthwise(half, stride=1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = _pointwise(half, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        kept, out = x.chunk(2, dim=1)
        out = self.relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = self.relu(self.bn3(self.conv3(out)))
        return _shuffle(torch.cat([kept, out], dim=1), groups=2)


class _V2DownBlock(BaseModule):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1 = _depthwise(in_channels, stride=2)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = _pointwise(in_channels, half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = _pointwise(in_channels, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = _depthwise(half, stride=2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = _pointwise(half, half)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn1(self.conv1(x))
        left = self.relu(self.bn2(self.conv2(left)))
        right = self.relu(self.bn3(self.conv3(x)))
        right = self.bn4(self.conv4(right))
        right = self.relu(self.bn5(self.conv5(right)))
        return _shuffle(torch.cat([left, right], dim=1), groups=2)


@MODELS.register_module()
class CIFARShuffleNetV2(BaseModule):
    """ShuffleNetV2 of width 1x, for small images.

    A 1x1 stem without pooling and three stages at stride 2, 4 and 8. Parameters have
    the names of the released code.

    Source: https://arxiv.org/abs/1807.11164; in the form of
    https://github.com/HobbitLong/RepDistiller

    Args:
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            None, torch's own one, as in the released code.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import CIFARShuffleNetV2
        >>> CIFARShuffleNetV2()(torch.zeros(1, 3, 32, 32))[0].shape
        torch.Size([1, 1024, 4, 4])
    """

    def __init__(
        self, in_channels: int = 3, init_cfg: dict | list[dict] | None = None
    ) -> None:
        super().__init__(init_cfg)
        channels = _STEM_CHANNELS
        self.conv1 = _pointwise(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        for stage, out_channels in enumerate(_V2_STAGE_CHANNELS, start=1):
            layers: list[nn.Module] = [_V2DownBlock(channels, out_channels)]
            for _ in range(_STAGE_BLOCKS[stage - 1] - 1):
                layers.append(_V2Block(out_channels))
            self.add_module(f'layer{stage}', nn.Sequential(*layers))
            channels = out_channels
        self.conv2 = _pointwise(channels, _V2_LAST_CHANNELS)
        self.bn2 = nn.BatchNorm2d(_V2_LAST_CHANNELS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the feature map of the last convolution.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, 1024, H / 8, W / 8), rounded up.
        """
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f'layer{stage}')(x)
        return (self.relu(self.bn2(self.conv2(x))),)
