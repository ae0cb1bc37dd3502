"""Wide ResNets for small images, as used in the distillation papers."""

from __future__ import annotations

from collections import OrderedDict

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

_STEM_CHANNELS = 16
_STAGE_CHANNELS = (16, 32, 64)


class _PreActivationBlock(BaseModule):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.convShortcut: nn.Module | None = None
        if in_channels != out_channels:
            self.convShortcut = nn.Conv2d(
                in_channels, out_channels, 1, stride, bias=False
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(x))
        # A projection shortcut takes the activated input, an identity the raw input.
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        return shortcut + self.conv2(self.relu(self.bn2(self.conv1(out))))


@MODELS.register_module()
class CIFARWideResNet(BaseModule):
    """Wide ResNet WRN-d-k for small images, without dropout.

    A 3x3 stem of 16 channels without pooling and three stages of pre-activation
    blocks, at stride 1, 2 and 4. Parameters have the names of the public CIFAR-100
    checkpoints of these networks.

    mdistiller's code passes each batch twice through three of its batch norms, ``bn1``
    and the first ones of the second and third stages, so their effective momentum is
    0.19. Here, as in RepDistiller, each sees a batch once.

    Source: https://arxiv.org/abs/1605.07146; in the sizes of
    https://github.com/HobbitLong/RepDistiller

    Args:
        depth (int): Number of layers, 6n + 4: 16 and 40 in the distillation papers.
        widen_factor (float): Factor of the stages' channel counts, 16, 32 and 64.
            Defaults to 1.0.
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            He's normal initialization for convolutions.

    Raises:
        ValueError: If ``depth`` is not 6n + 4, or a stage would have no channel.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import CIFARWideResNet
        >>> network = CIFARWideResNet(depth=16, widen_factor=2)
        >>> network(torch.zeros(1, 3, 32, 32))[0].shape
        torch.Size([1, 128, 8, 8])
    """

    def __init__(
        self,
        depth: int,
        widen_factor: float = 1.0,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = [
            dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        blocks, rest = divmod(depth - 4, 6)
        if blocks < 1 or rest:
            raise ValueError(
                f'depth must be 6n + 4, such as 16 or 40, but got {depth}.'
            )
        widths = [int(widen_factor * each) for each in _STAGE_CHANNELS]
        if widths[0] < 1:
            raise ValueError(
                f'widen_factor={widen_factor} leaves no channel in the first stage; '
                f'expected at least 1 / {_STAGE_CHANNELS[0]}.'
            )
        self.conv1 = nn.Conv2d(in_channels, _STEM_CHANNELS, 3, 1, 1, bias=False)
        channels = _STEM_CHANNELS
        for stage, out_channels in enumerate(widths, start=1):
            layers = []
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layers.append(_PreActivationBlock(channels, out_channels, stride))
                channels = out_channels
            # The released names have 'layer' between stage and block.
            named: OrderedDict[str, nn.Module] = OrderedDict(
                layer=nn.Sequential(*layers)
            )
            self.add_module(f'block{stage}', nn.Sequential(named))
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the activated feature map of the last stage.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, 64 * widen_factor, H / 4, W / 4),
            rounded up.
        """
        x = self.conv1(x)
        for stage in (1, 2, 3):
            x = self.get_submodule(f'block{stage}')(x)
        return (self.relu(self.bn1(x)),)
