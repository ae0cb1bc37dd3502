"""A linear probe changes nothing but its last layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from released_networks import NETWORKS, released_weights

from mmkd_logit.models import LinearProbe
from mmkd_logit.registry import MODELS

NETWORK = NETWORKS['resnet8'].config(100)
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 70.0, 80.0]


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Config of a distiller whose student is resnet8."""
    path = tmp_path / 'config.py'
    student = {**NETWORK, 'data_preprocessor': dict(mean=MEAN, std=STD)}
    model = dict(
        type='mmkd_logit.LogitDistiller',
        student=student,
        teacher=dict(model=NETWORK, checkpoint=None),
        losses=dict(kd=dict(type='KDLoss')),
    )
    Config(dict(default_scope='mmpretrain', model=model)).dump(path)
    return str(path)


def save(path: Path, weights: dict, **beside: object) -> str:
    torch.save({**beside, 'state_dict': weights}, path)
    return str(path)


@pytest.fixture
def plain() -> dict[str, torch.Tensor]:
    """Weights of a student."""
    torch.manual_seed(3)
    return MODELS.build(NETWORK).state_dict()


def probe(config: str, checkpoint: str) -> LinearProbe:
    model = LinearProbe(config, 7, checkpoint, dict(to_rgb=True))
    model.init_weights()
    return model


def features(model: LinearProbe) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if not k.startswith('head.')}


def test_weights_of_any_run_of_the_student(
    config: str, plain: dict, tmp_path: Path
) -> None:
    expected = {k: v for k, v in plain.items() if not k.startswith('head.')}
    distiller = {f'student.{key}': value for key, value in plain.items()}
    distiller['aux_head.fc.weight'] = torch.zeros(100, 64)
    for name, weights in (('plain', plain), ('distiller', distiller)):
        found = features(probe(config, save(tmp_path / f'{name}.pth', weights)))
        assert list(found) == list(expected)
        assert all(torch.equal(found[key], expected[key]) for key in found), name
    released = released_weights('resnet8')
    torch.save({'model': released}, tmp_path / 'ckpt_epoch_240.pth')
    found = features(probe(config, str(tmp_path / 'ckpt_epoch_240.pth')))
    assert torch.equal(found['backbone.conv1.weight'], released['conv1.weight'].float())


def test_a_step_trains_the_last_layer_alone(
    config: str, plain: dict, tmp_path: Path, batch: Callable
) -> None:
    model = probe(config, save(tmp_path / 'student.pth', plain))
    assert model.head.num_classes == 7
    # As torch's Linear starts, not as mmpretrain's head.
    weight = model.head.fc.weight
    assert weight.shape == (7, 64) and 0.9 / 8 < weight.abs().max() <= 1 / 8
    assert model.data_preprocessor.mean.flatten().tolist() == MEAN
    assert model.data_preprocessor.std.flatten().tolist() == STD
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1)
    model.train()
    assert model.training and not model.backbone.training
    wrapper = build_optim_wrapper(model, dict(optimizer=optimizer))
    for _ in range(2):
        model.train_step(batch(size=4), wrapper)
    changed = {k for k, v in model.state_dict().items() if not v.equal(before[k])}
    assert changed == {'head.fc.weight', 'head.fc.bias'}


def test_what_cannot_be_probed(config: str, plain: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'no checkpoint. Train the student first, or'):
        LinearProbe(config, 7)
    with pytest.raises(FileNotFoundError, match=r"'missing.pth' does not exist.*Train"):
        probe(config, 'missing.pth')
    with pytest.raises(FileNotFoundError, match='The config of the student, model.con'):
        LinearProbe('missing.py', 7, 'student.pth')
    other = NETWORKS['wrn_16_1'].classifier(100).state_dict()
    with pytest.raises(ValueError, match='does not fit the model ImageClassifier'):
        probe(config, save(tmp_path / 'other.pth', other))
    pytest.importorskip('timm', reason='timm is not installed')
    timm = dict(type='TimmClassifier', model_name='resnet10t', pretrained=False)
    path = tmp_path / 'timm.py'
    Config(dict(default_scope='mmpretrain', model=timm)).dump(path)
    with pytest.raises(TypeError, match='has a TimmClassifier'):
        LinearProbe(str(path), 7, 'student.pth')
