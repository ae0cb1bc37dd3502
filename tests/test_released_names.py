"""Released files load as they are, or are refused with the next step."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from old_torch import tar_parts, write_tar
from released_networks import (
    NETWORKS,
    RECORDED,
    SMALL,
    images,
    num_classes,
    released_weights,
)
from torch import Tensor, nn

from mmkd_logit.apis import load_weights
from mmkd_logit.models import LogitDistiller, Teacher
from mmkd_logit.registry import MODELS
from mmkd_logit.released_names import recognize

Weights = dict[str, Tensor]
RESNET8 = NETWORKS['resnet8'].config(100)


def under(prefix: str, weights: Weights) -> Weights:
    return {f'{prefix}{name}': value for name, value in weights.items()}


def without_counts(weights: Weights) -> Weights:
    return {key: value for key, value in weights.items() if 'num_batches' not in key}


def momentum(weights: Weights) -> dict:
    """State of an optimizer that has made a step."""
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def of_distiller(student: Weights) -> dict:
    """``latest`` of mdistiller, with a resnet14 as the teacher."""
    return {
        'epoch': 12,
        'model': under('module.student.', student)
        | under('module.teacher.', released_weights('resnet14')),
        'optimizer': momentum(student),
        'best_acc': np.float32(71.5),
    }


def repdistiller(weights: Weights) -> dict:
    accuracy = torch.tensor([72.34])
    return dict(
        epoch=240, model=weights, accuracy=accuracy, optimizer=momentum(weights)
    )


FORMS: dict[str, Callable[[Weights], dict]] = {
    'flat': lambda weights: weights,
    'ckpt_epoch_240': lambda weights: {'model': weights},
    'repdistiller': repdistiller,
    'old torch': lambda weights: repdistiller(without_counts(weights)),
    'ddp': lambda weights: {'model': under('module.', weights)},
    'latest': of_distiller,
    'latest, vanilla': lambda weights: {'model': under('module.student.', weights)},
    'teacher': lambda weights: {'model': under('module.teacher.', weights)},
}


@pytest.fixture
def logged() -> Iterator[list[str]]:
    messages: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write(held: Any, **options: Any) -> str:
        path = tmp_path / 'released.pth'
        torch.save(held, path, **options)
        return str(path)

    return write


def as_teacher(config: dict, path: str) -> Callable[[Tensor], Tensor]:
    teacher = Teacher(model=config, checkpoint=path)
    teacher.load(MODELS.build(RESNET8))
    return teacher


def as_model(config: dict, path: str) -> Callable[[Tensor], Tensor]:
    model = MODELS.build(config)
    load_weights(model, path)
    return model.eval()


def as_student(config: dict, path: str) -> Callable[[Tensor], Tensor]:
    losses = dict(kd=dict(type='mmkd_logit.KDLoss'))
    teacher = dict(model=config, checkpoint=None)
    distiller = LogitDistiller(student=config, teacher=teacher, losses=losses)
    load_weights(distiller, path)
    return distiller.student.eval()


LOADERS = (as_teacher, as_model, as_student)
every_loader = pytest.mark.parametrize('load', LOADERS)


def assert_recorded(load: Callable, name: str, path: str) -> None:
    """What is loaded gives the logits that the released code gave."""
    network = load(NETWORKS[name].config(num_classes(name)), path)
    with torch.no_grad():
        logits = network(images(name).float()).double()
    expected = torch.from_numpy(RECORDED[f'{name}.logits'])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('form', FORMS)
@every_loader
def test_every_form(load: Callable, form: str, zipped: bool, save: Callable) -> None:
    held = FORMS[form](released_weights('resnet8'))
    path = save(held, _use_new_zipfile_serialization=zipped)
    assert_recorded(load, 'resnet8', path)


@pytest.mark.parametrize('name', SMALL)
def test_every_class_of_networks(name: str, save: Callable) -> None:
    assert_recorded(as_teacher, name, save({'model': released_weights(name)}))


def test_an_old_file_written_on_a_gpu(save: Callable) -> None:
    weights = {key: value.float() for key, value in released_weights('resnet8').items()}
    path = Path(save(repdistiller(weights), _use_new_zipfile_serialization=False))
    on_cpu, on_gpu = b'X\x03\0\0\0cpu', b'X\x06\0\0\0cuda:0'
    data = path.read_bytes()
    assert data.count(b'ctorch\nFloatStorage') == 1 and on_cpu in data
    data = data.replace(b'ctorch\nFloatStorage', b'ctorch.cuda\nFloatStorage')
    path.write_bytes(data.replace(on_cpu, on_gpu))
    assert_recorded(as_teacher, 'resnet8', str(path))


@pytest.mark.parametrize(('depth', 'first'), [(18, True), (50, False)])
def test_torchvision(depth: int, first: bool, save: Callable) -> None:
    """The first release's files are tar files, without the counts of batches."""
    theirs = getattr(torchvision.models, f'resnet{depth}')().eval()
    for name, value in theirs.named_buffers():
        if 'running' in name:
            value.uniform_(0.5, 1.5)
    path = save(theirs.state_dict())
    if first:
        held = theirs.state_dict(keep_vars=True)
        write_tar(tar_parts(without_counts(held)), Path(path))
    config = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=depth),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=1000,
            in_channels=theirs.fc.in_features,
        ),
    )
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(inputs)
        torch.testing.assert_close(as_teacher(config, path)(inputs), expected)


def test_the_log_says_whose_weights_are_taken(
    save: Callable, logged: list[str]
) -> None:
    as_model(RESNET8, save(of_distiller(released_weights('resnet8'))))
    assert "the student's 56 of 148 tensors, renamed" in logged[-1]
    as_model(RESNET8, save(FORMS['teacher'](released_weights('resnet8'))))
    assert "the teacher's 56 of 56 tensors, renamed" in logged[-1]
    as_model(RESNET8, save(released_weights('resnet8')))
    assert 'released.pth: took 56 tensors, renamed' in logged[-1]
    assert '(fc is head.fc, the rest is in the backbone)' in logged[-1]
    count = len(logged)
    as_model(RESNET8, save(MODELS.build(RESNET8).state_dict()))
    assert len(logged) == count


@every_loader
def test_another_network(load: Callable, save: Callable) -> None:
    classes = {'fc.weight': torch.zeros(10, 64), 'fc.bias': torch.zeros(10)}
    cifar10 = released_weights('resnet14') | classes
    student = released_weights('wrn_16_2')
    for held, message in (
        (released_weights('resnet14'), 'It looks like resnet14, with 100 classes.'),
        (without_counts(cifar10), 'It looks like resnet14, with 10 classes. Use the'),
        (released_weights('MobileNetV2'), 'looks like MobileNetV2, with 100 classes'),
        (of_distiller(student), 'Its student looks like wrn_16_2, with 100 classes.'),
    ):
        with pytest.raises(ValueError) as error:
            load(RESNET8, save(held))
        text = str(error.value)
        assert 'released.pth does not fit the model ImageClassifier' in text
        assert text.count('looks like') == 1 and message in text
        assert text.endswith('the config of that network, or the file of this one.')
        assert 'export_student' not in text


@every_loader
def test_other_classes(load: Callable, save: Callable) -> None:
    classes = {'fc.weight': torch.zeros(10, 64), 'fc.bias': torch.zeros(10)}
    weights = released_weights('resnet8') | classes
    for held in (weights, without_counts(weights)):
        with pytest.raises(ValueError) as error:
            load(RESNET8, save(held))
        text = str(error.value)
        assert 'head.fc.weight: file (10, 64), model (100, 64)' in text
        assert 'in the model only' not in text
        assert 'the file was trained on a different number of classes' in text


def test_an_unknown_network(save: Callable) -> None:
    """Nothing is renamed where the names do not fit to the last one."""
    weights = released_weights('resnet8')
    one_more = weights | {'layer4.weight': torch.zeros(1)}
    one_less = {key: value for key, value in weights.items() if key != 'conv1.weight'}
    for held in (one_more, one_less, {'fc.weight': torch.zeros(())}):
        with pytest.raises(ValueError, match='No name in the file is known') as error:
            as_model(RESNET8, save(held))
        assert 'looks like' not in str(error.value)


def test_no_tensor_is_lost_in_renaming(save: Callable) -> None:
    """Two names that become one are refused."""
    config = NETWORKS['ResNet18'].config(100)
    weights = released_weights('ResNet18')
    shortcuts = {key: value for key, value in weights.items() if '.shortcut.' in key}
    twice = {key.replace('shortcut', 'downsample'): shortcuts[key] for key in shortcuts}
    with pytest.raises(ValueError, match='does not fit'):
        as_model(config, save(weights | twice))


def test_an_argument_namespace_names_the_file_to_take(save: Callable) -> None:
    """RepDistiller's ``*_last.pth`` holds the options of the run."""
    held = {'opt': argparse.Namespace(lr=0.05), 'model': released_weights('resnet8')}
    for zipped in (True, False):
        path = save(held, _use_new_zipfile_serialization=zipped)
        for load in LOADERS:
            with pytest.raises(ValueError, match=r'holds argparse\.Namespace') as error:
                load(RESNET8, path)
            assert 'use ckpt_epoch_240.pth or the *_best.pth beside' in str(error.value)


class _Bomb:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize('zipped', [True, False])
def test_hostile_and_damaged_files(
    zipped: bool, save: Callable, tmp_path: Path
) -> None:
    weights: dict = released_weights('resnet8')
    options = dict(_use_new_zipfile_serialization=zipped)
    marker = tmp_path / 'ran'
    path = save({'model': weights, 'opt': _Bomb(str(marker))}, **options)
    with pytest.raises(ValueError, match='mkdir besides its weights') as error:
        as_teacher(RESNET8, path)
    assert not marker.exists()
    assert 'ckpt_epoch_240' not in str(error.value)
    for model in ({**weights, 1: torch.zeros(1)}, {**weights, 'fc.bias': 'x'}, 'x'):
        path = save({'model': model}, **options)
        with pytest.raises(ValueError, match='holds no weights where they are exp'):
            as_teacher(RESNET8, path)
    path = save({'model': weights}, **options)
    os.truncate(path, Path(path).stat().st_size // 2)
    with pytest.raises(ValueError, match='cannot be read; it may be truncated'):
        as_teacher(RESNET8, path)


@pytest.mark.parametrize('name', NETWORKS)
def test_released_networks_are_told_apart(name: str) -> None:
    weights = dict.fromkeys(released_names(name), torch.zeros(1))
    last = f'{NETWORKS[name].last_layer}.weight'
    weights[last] = torch.zeros(10, NETWORKS[name].features)
    expected = f'It looks like {name}, with 10 classes'
    assert recognize(weights) == recognize(without_counts(weights)) == expected


def released_names(name: str) -> list[str]:
    return [str(each).partition(' ')[0] for each in RECORDED[f'{name}.keys']]


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_torchvision_s_networks_are_told_apart(depth: int) -> None:
    with torch.device('meta'):
        weights = getattr(torchvision.models, f'resnet{depth}')().state_dict()
    expected = f"It looks like torchvision's resnet{depth}, with 1000 classes"
    assert recognize(weights) == recognize(without_counts(weights)) == expected


def test_weights_of_mmpretrain_are_of_no_released_network() -> None:
    model: BaseModel = MODELS.build(RESNET8)
    assert recognize(model.state_dict()) == ''
    assert recognize(under('student.', model.state_dict())) == ''
    assert recognize({}) == ''
