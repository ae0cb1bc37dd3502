from __future__ import annotations

import copy

import pytest
import torch
from mmengine.model import Sequential, initialize
from torch import nn

from mmkd_logit.modules.heads import ConvLogitHead, LinearLogitHead, MLPLogitHead


def test_linear_head_starts_as_the_authors_does() -> None:
    """As torch's own layer, to the bit: std 0.072 for 64 features, not 0.01."""
    torch.manual_seed(0)
    head = LinearLogitHead(in_channels=64, num_classes=10)
    head.init_weights()
    torch.manual_seed(0)
    layer = nn.Linear(64, 10)
    assert torch.equal(head.fc.weight, layer.weight)
    assert torch.equal(head.fc.bias, layer.bias)
    assert head.fc.weight.std().item() == pytest.approx(1 / (3 * 64) ** 0.5, rel=0.1)
    feature = torch.randn(3, 64)
    expected = feature @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(head(feature), expected)


def test_conv_head_starts_as_heads_of_mmseg() -> None:
    head = ConvLogitHead(in_channels=64, num_classes=10, hidden_channels=8)
    assert head.conv_logit.weight.std().item() == pytest.approx(0.01, rel=0.3)
    assert not head.conv_logit.bias.any()
    torch.manual_seed(0)
    head.init_weights()
    got = copy.deepcopy(head.state_dict())
    torch.manual_seed(0)
    initialize(head, dict(type='Normal', std=0.01, override=dict(name='conv_logit')))
    assert torch.equal(got['conv_logit.weight'], head.conv_logit.weight)


def test_heads_take_an_initialization_of_mmengine() -> None:
    settings = dict(type='Constant', val=0.5, layer='Linear')
    model = Sequential(LinearLogitHead(8, 3, init_cfg=settings))
    assert not (model[0].fc.weight == 0.5).any()
    model.init_weights()
    assert (model[0].fc.weight == 0.5).all()


def test_mlp_head_is_the_published_stack() -> None:
    head = MLPLogitHead(in_channels=64, num_classes=10)
    kinds = [nn.Linear, nn.Dropout, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert all(isinstance(*pair) for pair in zip(head.layers, kinds, strict=True))
    assert head.layers[0].out_features == head.layers[2].num_features == 200
    assert head.layers[1].p == 0.1
    assert head(torch.randn(3, 64)).shape == (3, 10)


def test_mlp_head_on_maps_is_that_on_their_pixels() -> None:
    head = MLPLogitHead(in_channels=8, num_classes=3, dropout=0.0)
    maps = torch.randn(2, 8, 4, 5)
    logits = head(maps)
    assert logits.shape == (2, 3, 4, 5)
    pixels = maps.permute(0, 2, 3, 1).reshape(40, 8)
    expected = copy.deepcopy(head)(pixels)
    torch.testing.assert_close(logits.permute(0, 2, 3, 1).reshape(40, 3), expected)


@pytest.mark.parametrize(
    ('head', 'shape'),
    [
        (MLPLogitHead(8, 3), (1, 8)),
        (MLPLogitHead(8, 3), (1, 8, 1, 1)),
        (ConvLogitHead(8, 3, hidden_channels=6), (1, 8, 1, 1)),
    ],
)
def test_a_single_row_does_not_stop_training(
    head: nn.Module, shape: tuple[int, ...]
) -> None:
    head = copy.deepcopy(head)
    feature = torch.randn(shape, requires_grad=True)
    for module in head.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    head.eval()
    expected = head(feature)
    head.train()
    logits = head(feature)
    torch.testing.assert_close(logits, expected)
    logits.sum().backward()
    assert feature.grad.isfinite().all()
    # Two rows are normalized by their own statistics again.
    two = torch.cat([feature.detach(), feature.detach() + 1])
    assert not torch.allclose(head(two), head.eval()(two))
