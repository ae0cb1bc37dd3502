from __future__ import annotations

import pytest
import torch

from mmkd_logit.models.backbones import CIFARResNet

# Parameters with a linear classifier of 100 classes, as the papers count them.
PARAMETERS = {
    'resnet8': 83_892,
    'resnet14': 181_108,
    'resnet20': 278_324,
    'resnet32': 472_756,
    'resnet44': 667_188,
    'resnet56': 861_620,
    'resnet110': 1_736_564,
    'resnet8x4': 1_233_540,
    'resnet32x4': 7_433_860,
}


@pytest.mark.parametrize('arch', PARAMETERS)
def test_parameters(arch: str) -> None:
    channels = 256 if arch.endswith('x4') else 64
    model = CIFARResNet(arch)
    count = sum(p.numel() for p in model.parameters())
    assert count + (channels + 1) * 100 == PARAMETERS[arch]
    (feature,) = model(torch.randn(1, 3, 32, 32))
    assert feature.shape == (1, channels, 8, 8)


def test_names_are_those_of_the_public_checkpoints() -> None:
    names = set(CIFARResNet('resnet8').state_dict())
    assert {
        'conv1.weight',
        'bn1.running_mean',
        'layer1.0.conv1.weight',
        'layer1.0.bn2.weight',
        'layer3.0.downsample.0.weight',
        'layer3.0.downsample.1.bias',
    } <= names
    assert not any('layer1.0.downsample' in name for name in names)


def test_init_weights() -> None:
    model = CIFARResNet('resnet8')
    model.init_weights()
    weight = model.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert (model.bn1.weight == 1).all()


def test_unknown_arch() -> None:
    with pytest.raises(ValueError, match="'resnet8x4'.*but got 'resnet18'"):
        CIFARResNet('resnet18')


def test_width() -> None:
    """As many channels as the factor says, in every layer."""
    narrow, usual = CIFARResNet('resnet8', widen_factor=0.5), CIFARResNet('resnet8')
    for name, weight in narrow.state_dict().items():
        full = usual.state_dict()[name].shape
        # The image has three channels.
        expected = [each if each in (1, 3) else each // 2 for each in full[:2]]
        assert list(weight.shape[:2]) == expected, name
    assert narrow(torch.zeros(1, 3, 8, 16))[0].shape == (1, 32, 2, 4)
    with pytest.raises(
        ValueError, match=r'widen_factor=0.01 leaves resnet8 no channel'
    ):
        CIFARResNet('resnet8', widen_factor=0.01)
