"""The networks that the papers release: how to build them, and what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

RECORDED = np.load(Path(__file__).parent / 'data' / 'small_nets.npz')


class Network(NamedTuple):
    """A backbone, its number of features, and what the released code says of it."""

    backbone: dict
    features: int
    last_layer: str
    parameters: int
    he_init: bool = True

    def config(self, num_classes: int) -> dict:
        return dict(
            type='ImageClassifier',
            backbone=self.backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=num_classes,
                in_channels=self.features,
            ),
        )

    def classifier(self, num_classes: int) -> nn.Module:
        return MODELS.build(self.config(num_classes))

    def released_name(self, name: str) -> str:
        name = name.replace('head.fc.', f'{self.last_layer}.')
        name = name.removeprefix('backbone.')
        # The one layer that mmpretrain names differently.
        if self.backbone['type'] == 'ResNet_CIFAR':
            name = name.replace('.downsample.', '.shortcut.')
        return name


def resnet(arch: str, parameters: int) -> Network:
    features = 256 if arch.endswith('x4') else 64
    return Network(
        dict(type='mmkd_logit.CIFARResNet', arch=arch), features, 'fc', parameters
    )


def wide_resnet(depth: int, widen_factor: int, parameters: int) -> Network:
    backbone = dict(
        type='mmkd_logit.CIFARWideResNet', depth=depth, widen_factor=widen_factor
    )
    return Network(backbone, 64 * widen_factor, 'fc', parameters)


def vgg(arch: str, parameters: int) -> Network:
    backbone = dict(type='mmkd_logit.CIFARVGG', arch=arch)
    return Network(backbone, 512, 'classifier', parameters)


def mmpretrain_resnet(depth: int, features: int, parameters: int) -> Network:
    # The papers let no residual branch start at zero.
    backbone = dict(type='ResNet_CIFAR', depth=depth, zero_init_residual=False)
    return Network(backbone, features, 'linear', parameters)


# Numbers of parameters with 100 classes, and 1000 of MobileNetV1.
NETWORKS = {
    'resnet8': resnet('resnet8', 83_892),
    'resnet14': resnet('resnet14', 181_108),
    'resnet20': resnet('resnet20', 278_324),
    'resnet32': resnet('resnet32', 472_756),
    'resnet44': resnet('resnet44', 667_188),
    'resnet56': resnet('resnet56', 861_620),
    'resnet110': resnet('resnet110', 1_736_564),
    'resnet8x4': resnet('resnet8x4', 1_233_540),
    'resnet32x4': resnet('resnet32x4', 7_433_860),
    'wrn_16_1': wide_resnet(16, 1, 180_916),
    'wrn_16_2': wide_resnet(16, 2, 703_284),
    'wrn_40_1': wide_resnet(40, 1, 569_780),
    'wrn_40_2': wide_resnet(40, 2, 2_255_156),
    'vgg8': vgg('vgg8', 3_965_028),
    'vgg11': vgg('vgg11', 9_277_284),
    'vgg13': vgg('vgg13', 9_462_180),
    'vgg16': vgg('vgg16', 14_774_436),
    'vgg19': vgg('vgg19', 20_086_692),
    'MobileNetV2': Network(
        dict(type='mmkd_logit.CIFARMobileNetV2'), 1280, 'classifier.0', 812_836
    ),
    'ShuffleV1': Network(
        dict(type='mmkd_logit.CIFARShuffleNetV1'), 960, 'linear', 949_258, False
    ),
    'ShuffleV2': Network(
        dict(type='mmkd_logit.CIFARShuffleNetV2'), 1024, 'linear', 1_355_528, False
    ),
    'ResNet18': mmpretrain_resnet(18, 512, 11_220_132),
    'ResNet50': mmpretrain_resnet(50, 2048, 23_705_252),
    'MobileNetV1': Network(
        dict(type='mmkd_logit.MobileNetV1'), 1024, 'fc', 4_231_976, False
    ),
}
# One of each class, the smallest.
SMALL = (
    'resnet8',
    'wrn_16_1',
    'vgg8',
    'MobileNetV2',
    'ShuffleV1',
    'ShuffleV2',
    'ResNet18',
    'MobileNetV1',
)


def num_classes(name: str) -> int:
    return RECORDED[f'{name}.logits'].shape[1]


def rule(name: str, tensor: Tensor) -> Tensor:
    """The weights that the recorded logits are of, from the name alone."""
    if name.endswith('num_batches_tracked'):
        return torch.zeros_like(tensor)
    # Arithmetic of arrays wraps; that of numpy's numbers warns.
    x = np.arange(tensor.numel(), dtype=np.uint64) + np.uint64(crc32(name.encode()))
    x *= np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) >> np.uint64(40)
    u = torch.from_numpy(x.astype(np.float64) / 2**23 - 1).view_as(tensor)
    if u.ndim > 1:
        return u * (3 / u[0].numel()) ** 0.5
    if name.endswith('running_var'):
        return 1 + 0.2 * u
    return 0.7 + 0.1 * u if name.endswith('weight') else 0.1 * u


def images(name: str) -> Tensor:
    """What the recorded logits are of."""
    shape = (1, 3, 224, 224) if name == 'MobileNetV1' else (2, 3, 32, 32)
    place = torch.arange(np.prod(shape), dtype=torch.float64).view(shape)
    return 1.5 * torch.sin(0.37 * place)


def released_weights(name: str) -> dict[str, Tensor]:
    """The weights that the recorded logits are of, as a released file has them."""
    weights = {}
    for each in RECORDED[f'{name}.keys']:
        key, _, size = each.partition(' ')
        shape = [int(side) for side in size.split('x') if side]
        count = key.endswith('num_batches_tracked')
        kind = torch.long if count else torch.float64
        weights[key] = rule(key, torch.zeros(shape, dtype=kind))
    return weights
