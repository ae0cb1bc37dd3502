"""VGG networks for small images, as used in the distillation papers."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

# Convolutions of the five blocks.
_ARCHS = {
    'vgg8': (1, 1, 1, 1, 1),
    'vgg11': (1, 1, 2, 2, 2),
    'vgg13': (2, 2, 2, 2, 2),
    'vgg16': (2, 2, 3, 3, 3),
    'vgg19': (2, 2, 4, 4, 4),
}
_BLOCK_CHANNELS = (64, 128, 256, 512, 512)


@MODELS.register_module()
class CIFARVGG(BaseModule):
    """VGG with batch normalization for small images.

    Five blocks of 3x3 convolutions, with max pooling after the first three only, so the
    stride is 8 whatever the size of the images; the released code pools once more if
    they are 64 pixels high. One linear layer after global average pooling replaces the
    three of the paper. Parameters have the names of the public CIFAR-100 checkpoints of
    these networks.

    Source: https://arxiv.org/abs/1409.1556; in the form of
    https://github.com/HobbitLong/RepDistiller

    Args:
        arch (str): One of 'vgg8', 'vgg11', 'vgg13', 'vgg16', 'vgg19'.
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (list[dict], optional): Initialization of the weights. Defaults to
            He's normal initialization for convolutions.

    Raises:
        ValueError: If ``arch`` is unknown.

    Example:
        >>> import torch
        >>> from mmkd_logit.models.backbones import CIFARVGG
        >>> CIFARVGG('vgg8')(torch.zeros(1, 3, 32, 32))[0].shape
        torch.Size([1, 512, 4, 4])
    """

    def __init__(
        self,
        arch: str,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = [
            dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        if arch not in _ARCHS:
            raise ValueError(f'arch must be one of {list(_ARCHS)}, but got {arch!r}.')
        channels = in_channels
        for block, out_channels in enumerate(_BLOCK_CHANNELS):
            layers: list[nn.Module] = []
            for _ in range(_ARCHS[arch][block]):
                layers += [
                    nn.Conv2d(channels, out_channels, 3, padding=1),
                    nn.BatchNorm2d(out_channels),
                    nn.ReLU(inplace=True),
                ]
                channels = out_channels
            if block < 3:
                layers.append(nn.MaxPool2d(2))
            self.add_module(f'block{block}', nn.Sequential(*layers))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute the feature map of the last block.

        Args:
            x (Tensor): Images of shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map of shape (N, 512, H / 8, W / 8), rounded down.
        """
        for block in range(len(_BLOCK_CHANNELS)):
            x = self.get_submodule(f'block{block}')(x)
        return (x,)
