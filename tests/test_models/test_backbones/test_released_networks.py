"""Ours, or mmpretrain's, compute what the networks that the papers release compute."""

from __future__ import annotations

import pytest
import torch
from released_networks import NETWORKS, RECORDED, SMALL, images, num_classes, rule
from torch import Tensor, nn

from mmkd_logit.registry import MODELS

every_network = pytest.mark.parametrize('name', NETWORKS)
every_class = pytest.mark.parametrize('name', SMALL)


@every_network
def test_names_parameters_and_logits(name: str) -> None:
    network = NETWORKS[name]
    model = network.classifier(num_classes(name)).double().eval()
    weights = {
        key: rule(network.released_name(key), tensor)
        for key, tensor in model.state_dict().items()
    }
    names = [
        f'{network.released_name(key)} {"x".join(map(str, tensor.shape))}'
        for key, tensor in weights.items()
    ]
    assert sorted(names) == sorted(RECORDED[f'{name}.keys'])
    parameters = sum(each.numel() for each in model.parameters())
    assert parameters == network.parameters == RECORDED[f'{name}.parameters']
    model.load_state_dict(weights)
    with torch.no_grad():
        logits = model(images(name))
    expected = torch.from_numpy(RECORDED[f'{name}.logits'])
    # With these weights the image moves the logits of the deepest networks by some 1e-9
    # only, so that a looser tolerance would not see what becomes of it.
    torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-13)


@every_class
def test_init_weights(name: str) -> None:
    """Weights have the released code's standard deviation, layer by layer."""
    network = NETWORKS[name]
    backbone = MODELS.build(network.backbone)
    backbone.init_weights()
    relative: dict[bool, list[Tensor]] = {False: [], True: []}
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
        if not isinstance(module, nn.Conv2d):
            continue
        per_output = module.weight[0].numel()
        area = module.weight[0, 0].numel()
        if network.he_init:
            expected = (2 / (area * module.out_channels)) ** 0.5
            assert module.bias is None or (module.bias == 0).all()
        else:
            expected = (1 / (3 * per_output)) ** 0.5
            assert module.weight.abs().max() <= per_output**-0.5
        depthwise = module.groups == module.out_channels
        relative[depthwise].append(module.weight.flatten() / expected)
        spread = relative[depthwise][-1]
        # Five standard errors of a normal sample's standard deviation.
        tolerance = 5 / (2 * spread.numel()) ** 0.5
        assert spread.std().item() == pytest.approx(1, abs=tolerance)
    assert bool(relative[True]) == ('Mobile' in name or 'Shuffle' in name)
    for group in filter(None, relative.values()):
        spread = torch.cat(group)
        assert spread.std().item() == pytest.approx(1, abs=0.03)
        assert spread.mean().item() == pytest.approx(0, abs=0.03)


@every_class
def test_training_step(name: str) -> None:
    """Each weight gets a gradient, each batch norm sees the batch once."""
    backbone = MODELS.build(NETWORKS[name].backbone)
    (feature,) = backbone(torch.randn(2, 3, 64, 64))
    (feature * torch.randn_like(feature)).sum().backward()
    without = [
        key
        for key, weight in backbone.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert not without
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_batches_tracked == 1


@every_class
def test_grey_images(name: str) -> None:
    backbone = MODELS.build({**NETWORKS[name].backbone, 'in_channels': 1})
    (feature,) = backbone(torch.zeros(2, 1, 32, 32))
    assert feature.shape[:2] == (2, NETWORKS[name].features)
