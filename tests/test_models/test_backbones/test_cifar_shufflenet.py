from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseModule

from mmkd_logit.models.backbones import CIFARShuffleNetV1, CIFARShuffleNetV2
from mmkd_logit.models.backbones.cifar_shufflenet import _shuffle


def test_shuffle() -> None:
    channels = torch.arange(6.0).view(1, 6, 1, 1)
    assert _shuffle(channels, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert _shuffle(channels, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    ('backbone', 'channels'), [(CIFARShuffleNetV1, 960), (CIFARShuffleNetV2, 1024)]
)
def test_stride_is_8_rounded_up(backbone: type[BaseModule], channels: int) -> None:
    (feature,) = backbone()(torch.zeros(1, 3, 32, 41))
    assert feature.shape == (1, channels, 4, 6)
