from __future__ import annotations

import pytest
import torch

from mmkd_logit.models.backbones import CIFARWideResNet


@pytest.mark.parametrize('depth', [4, 9, 18, -2])
def test_impossible_depth(depth: int) -> None:
    with pytest.raises(ValueError, match=rf'6n \+ 4, such as .* but got {depth}\.'):
        CIFARWideResNet(depth)


def test_width() -> None:
    """As many channels as the factor says, but in the stem."""
    narrow = CIFARWideResNet(10, widen_factor=0.5)
    assert narrow.conv1.out_channels == 16
    assert narrow(torch.zeros(1, 3, 9, 16))[0].shape == (1, 32, 3, 4)
    with pytest.raises(
        ValueError, match=r'widen_factor=0.05 leaves .* expected at least 1 / 16'
    ):
        CIFARWideResNet(10, widen_factor=0.05)
