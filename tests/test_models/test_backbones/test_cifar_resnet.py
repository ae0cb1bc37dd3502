from __future__ import annotations

import pytest
import torch

from mmkd_logit.models.backbones import CIFARResNet


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
