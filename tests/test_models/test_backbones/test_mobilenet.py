from __future__ import annotations

import pytest
import torch
from torch import nn

from mmkd_logit.models.backbones import CIFARMobileNetV2, MobileNetV1


def test_strides() -> None:
    images = torch.zeros(1, 3, 32, 65)
    assert MobileNetV1()(images)[0].shape == (1, 1024, 1, 3)
    assert CIFARMobileNetV2()(images)[0].shape == (1, 1280, 2, 5)


def test_no_activation_is_capped() -> None:
    """The recorded logits do not tell: no activation of theirs is above 6."""
    activations = {
        type(module)
        for module in CIFARMobileNetV2().modules()
        if 'activation' in type(module).__module__
    }
    assert activations == {nn.ReLU}


def test_width() -> None:
    """The last layer gets wider, but not narrower."""
    images = torch.zeros(2, 3, 16, 16)
    assert CIFARMobileNetV2(widen_factor=0.25)(images)[0].shape == (2, 1280, 1, 1)
    wide = CIFARMobileNetV2(widen_factor=1.5)
    assert wide.conv1[0].out_channels == 48
    assert wide(images)[0].shape == (2, 1920, 1, 1)
    with pytest.raises(
        ValueError, match=r'widen_factor=0.05 leaves .* expected at least 1 / 16'
    ):
        CIFARMobileNetV2(widen_factor=0.05)
