from __future__ import annotations

import pytest
import torch

from mmkd_logit.models.backbones import CIFARVGG


def test_unknown_arch() -> None:
    with pytest.raises(ValueError, match="'vgg8'.*'vgg19'.*but got 'vgg9'"):
        CIFARVGG('vgg9')


def test_stride_is_8_whatever_the_size() -> None:
    network = CIFARVGG('vgg8')
    assert network(torch.zeros(1, 3, 64, 39))[0].shape == (1, 512, 8, 4)
