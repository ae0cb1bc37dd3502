from __future__ import annotations

import torch
from torch import nn

from mmkd_logit.models.heads import LinearLogitHead, MLPLogitHead


def test_linear_head_starts_like_the_toolbox_s() -> None:
    head = LinearLogitHead(in_channels=64, num_classes=10)
    head.init_weights()
    assert 0.008 < head.fc.weight.std() < 0.012
    assert (head.fc.bias == 0).all()
    feature = torch.randn(3, 64)
    expected = feature @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(head(feature), expected)


def test_mlp_head_is_the_published_stack() -> None:
    head = MLPLogitHead(in_channels=64, num_classes=10)
    kinds = [nn.Linear, nn.Dropout, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in head.layers] == kinds
    assert head.layers[0].out_features == head.layers[2].num_features == 200
    assert head.layers[1].p == 0.1
    assert head(torch.randn(3, 64)).shape == (3, 10)
