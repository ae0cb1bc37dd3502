from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel

from mmkd_logit.models import Teacher
from mmkd_logit.registry import MODELS

MakeConfig = Callable[..., dict]


@pytest.fixture
def student(classifier: MakeConfig) -> BaseModel:
    return MODELS.build(classifier())


@pytest.fixture
def weights(classifier: MakeConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return MODELS.build(classifier()).state_dict()


@pytest.fixture
def checkpoint(weights: dict, tmp_path: Path) -> str:
    path = tmp_path / 'teacher.pth'
    torch.save({'state_dict': weights}, path)
    return str(path)


def load(model: dict, checkpoint: str | None, student: BaseModel, **kw: object):
    teacher = Teacher(model=model, checkpoint=checkpoint, **kw)
    teacher.load(student)
    return teacher


def test_gives_the_logits_of_the_plain_model_in_eval_mode(
    classifier: MakeConfig, weights: dict, checkpoint: str, student: BaseModel
) -> None:
    teacher = load(classifier(), checkpoint, student)
    plain = MODELS.build(classifier())
    plain.load_state_dict(weights)
    plain.eval()
    inputs = torch.randn(2, 3, 8, 8)
    logits = teacher(inputs)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, plain(inputs))
    assert not any(p.requires_grad for p in teacher.module.parameters())


def test_reads_what_mmengine_saves(
    classifier: MakeConfig, weights: dict, student: BaseModel, tmp_path: Path
) -> None:
    path = tmp_path / 'epoch_1.pth'
    log = HistoryBuffer([1.0, 2.0], [1, 1])
    meta = {'epoch': 1, 'best': np.float64(0.5), 'dataset_meta': {'classes': ('a',)}}
    wrapped = {f'module.{key}': value for key, value in weights.items()}
    message_hub = {'log_scalars': {'train/loss': log}}
    torch.save({'state_dict': wrapped, 'message_hub': message_hub, 'meta': meta}, path)
    teacher = load(classifier(), str(path), student)
    key = 'head.fc.weight'
    assert torch.equal(teacher.module.state_dict()[key], weights[key])


def test_from_the_config_of_a_package_with_its_own_normalization() -> None:
    student = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=64),
        )
    )
    teacher = Teacher(
        config='mmpretrain::resnet/resnet18_8xb32_in1k.py', checkpoint=None
    )
    with pytest.warns(UserWarning, match='random weights'):
        teacher.load(student)
    assert teacher.module.head.num_classes == 1000
    # The student sees BGR pixels as they are; the teacher wants RGB, normalized.
    pixels = torch.rand(2, 3, 32, 32) * 255
    plain = teacher.module.data_preprocessor
    expected = (pixels.flip(1) - plain.mean) / plain.std
    torch.testing.assert_close(teacher.prepare(pixels), expected)


def test_from_a_local_config_even_one_of_a_distiller(
    classifier: MakeConfig, checkpoint: str, student: BaseModel, tmp_path: Path
) -> None:
    config = tmp_path / 'teacher.py'
    model = dict(type='mmkd_logit.LogitDistiller', student=classifier())
    config.write_text(f"default_scope = 'mmpretrain'\nmodel = {model!r}\n")
    teacher = Teacher(config=str(config), checkpoint=checkpoint)
    teacher.load(student)
    assert type(teacher.module).__name__ == 'ImageClassifier'


def test_renormalizes_between_mean_and_std(
    classifier: MakeConfig, checkpoint: str, student: BaseModel
) -> None:
    config = classifier()
    config['data_preprocessor'].update(mean=[1.0, 2.0, 3.0], std=[2.0, 4.0, 8.0])
    teacher = load(config, checkpoint, student)
    inputs = torch.randn(2, 3, 4, 4)
    mean = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    std = torch.tensor([2.0, 4.0, 8.0]).view(3, 1, 1)
    torch.testing.assert_close(teacher.prepare(inputs), (inputs - mean) / std)
    same = load(classifier(), checkpoint, student)
    assert same.prepare(inputs) is inputs


def test_options(classifier: MakeConfig, checkpoint: str, student: BaseModel) -> None:
    inputs = torch.randn(4, 3, 8, 8)
    expected = load(classifier(), checkpoint, student)(inputs)
    narrow = load(classifier(), checkpoint, student, dtype='bfloat16')(inputs)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), expected, rtol=0.1, atol=0.1)
    teacher = load(classifier(), checkpoint, student, dtype='bfloat16')
    # Torch 2.1 knows no other type on a CPU.
    knows = not torch.__version__.startswith('2.1.')
    other = torch.float16 if knows else torch.bfloat16
    with torch.autocast('cpu', other):
        assert torch.equal(teacher(inputs), narrow)
    wide = load(classifier(), checkpoint, student)
    with torch.autocast('cpu', torch.bfloat16):
        assert wide(inputs).dtype == torch.bfloat16
    last = load(classifier(), checkpoint, student, channels_last=True)
    assert last.prepare(inputs).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(inputs), expected)
    compiled = load(classifier(), checkpoint, student, compile=dict(backend='eager'))
    torch.testing.assert_close(compiled(inputs), expected)


def test_building_it_leaves_the_random_numbers_alone(
    classifier: MakeConfig, checkpoint: str, student: BaseModel
) -> None:
    before = torch.get_rng_state()
    load(classifier(), checkpoint, student)
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match='one of config .* model'):
        Teacher(checkpoint=None)
    with pytest.raises(ValueError, match='needs a checkpoint'):
        Teacher(config='x.py')
    for dtype in ('int8', 'bfloat', 'nn'):
        with pytest.raises(ValueError, match="'bfloat16'"):
            Teacher(config='x.py', checkpoint=None, dtype=dtype)


def test_missing_checkpoint(classifier: MakeConfig, student: BaseModel) -> None:
    with pytest.raises(FileNotFoundError, match=r"'nowhere.pth' does not exist"):
        load(classifier(), 'nowhere.pth', student)
    with pytest.raises(ValueError, match=r'path of a file or an http\(s\) URL'):
        load(classifier(), 'ftp://example.org/x.pth', student)


def test_checkpoint_of_another_architecture(
    classifier: MakeConfig, checkpoint: str, student: BaseModel
) -> None:
    config = classifier()
    config['backbone']['arch'] = 'resnet14'
    with pytest.raises(ValueError) as error:
        load(config, checkpoint, student)
    text = str(error.value)
    assert 'does not fit the model ImageClassifier' in text
    assert '36 in the model only: backbone.layer1.1.conv1.weight' in text
    assert 'and 32 more' in text


def test_checkpoint_of_other_classes(
    classifier: MakeConfig, checkpoint: str, student: BaseModel
) -> None:
    with pytest.raises(ValueError) as error:
        load(classifier(num_classes=7), checkpoint, student)
    assert 'head.fc.weight: file (5, 64), model (7, 64)' in str(error.value)
    assert 'a different number of classes' in str(error.value)


def test_checkpoint_of_a_distiller(
    classifier: MakeConfig, weights: dict, student: BaseModel, tmp_path: Path
) -> None:
    path = tmp_path / 'distiller.pth'
    state = {f'student.{key}': value for key, value in weights.items()}
    torch.save({'state_dict': state}, path)
    with pytest.raises(ValueError, match='tools/model_converters/export_student.py'):
        load(classifier(), str(path), student)


@pytest.mark.parametrize('size', [0, 100, 20_000])
def test_truncated_checkpoint(
    size: int, classifier: MakeConfig, checkpoint: str, student: BaseModel
) -> None:
    os.truncate(checkpoint, size)
    with pytest.raises(ValueError, match=rf'\({size} bytes\) cannot be read'):
        load(classifier(), checkpoint, student)


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def test_a_checkpoint_that_would_run_code_does_not(
    classifier: MakeConfig, weights: dict, student: BaseModel, tmp_path: Path
) -> None:
    marker, path = tmp_path / 'ran', tmp_path / 'bomb.pth'
    torch.save({'state_dict': weights, 'meta': _Bomb(marker)}, path)
    with pytest.raises(ValueError, match=r'mkdir besides its weights.* could run code'):
        load(classifier(), str(path), student)
    assert not marker.exists()
    with path.open('rb') as file:  # it is a bomb indeed
        torch.load(file, weights_only=False)
    assert marker.exists()


def test_getattr_in_a_checkpoint_reaches_nothing_but_a_buffer_s_methods(
    classifier: MakeConfig, student: BaseModel, tmp_path: Path
) -> None:
    class Reach:
        def __reduce__(self) -> tuple:
            return getattr, (HistoryBuffer, '__init__')

    path = tmp_path / 'reach.pth'
    torch.save({'meta': Reach()}, path)
    with pytest.raises(ValueError, match='could run code'):
        load(classifier(), str(path), student)


def test_not_a_checkpoint(
    classifier: MakeConfig, student: BaseModel, tmp_path: Path
) -> None:
    path = tmp_path / 'list.pth'
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match='holds a list'):
        load(classifier(), str(path), student)
    path.write_bytes(pickle.dumps({'a': 1}))
    with pytest.raises(ValueError):
        load(classifier(), str(path), student)


def test_files_that_end_in_a_sigmoid() -> None:
    teacher = Teacher(onnx='multi_label.onnx', preprocess='student')
    logits = torch.tensor([[-6.0, 0.5, 7.0], [2.0, -4.0, -8.0]])
    teacher._check_logits(logits)
    with pytest.raises(ValueError, match='probabilities: its values are from 0 to 1'):
        teacher._check_logits(logits.sigmoid())
