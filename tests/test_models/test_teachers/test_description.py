"""What a store's header says of a teacher of any source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmkd_logit.models.teachers.description import describe_teacher, digest_of_weights

DEFAULTS = {
    'weights': None,
    'options': {},
    'output': None,
    'preprocess': None,
    'resize': 'auto',
    'class_map': None,
}


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (
            dict(model=dict(type='A'), checkpoint=None, dtype='bfloat16'),
            DEFAULTS | {'model': {'type': 'A'}, 'checkpoint': None},
        ),
        (
            dict(timm='resnet18', options=dict(num_classes=3, cache_dir='here')),
            DEFAULTS
            | {
                'timm': {'source': 'resnet18', 'sha256': None},
                'checkpoint': 'pretrained',
                'options': {'num_classes': 3},
            },
        ),
        (
            dict(
                huggingface='a/b',
                options=dict(revision='1', token='secret'),
                class_map=('x', 3),
            ),
            DEFAULTS
            | {
                'huggingface': {'source': 'a/b', 'sha256': None},
                'checkpoint': 'pretrained',
                'options': {'revision': '1'},
                'class_map': ['x', 3],
            },
        ),
        (
            dict(torchvision='resnet34', weights='V1', resize=32),
            DEFAULTS
            | {
                'torchvision': {'source': 'resnet34', 'sha256': None},
                'weights': 'V1',
                'resize': [32, 32],
            },
        ),
        (dict(channels_last=True, views=3, cache='store'), {}),
        (dict(class_map='names', resize=None), {'class_map': 'names', 'resize': None}),
    ],
)
def test_settings(settings: dict, expected: dict[str, Any]) -> None:
    assert describe_teacher(settings) == expected


def test_files_are_told_by_what_they_hold(tmp_path: Path) -> None:
    def digest(path: Path, key: str = 'onnx') -> str:
        return describe_teacher({key: str(path)})[key]['sha256']

    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'model.onnx').write_bytes(b'one')
    files = [tmp_path / folder / 'model.onnx' for folder in ('a', 'b')]
    assert digest(files[0]) == digest(files[1])
    folders = [file.parent for file in files]
    same = [digest(folder, 'timm') for folder in folders]
    assert same[0] == same[1]
    files[1].write_bytes(b'other')
    assert digest(files[0]) != digest(files[1])
    assert digest(folders[1], 'timm') not in same
    files[0].rename(folders[0] / 'renamed.onnx')
    assert digest(folders[0], 'timm') not in same


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_digest_of_weights(dtype: torch.dtype) -> None:
    model = torch.nn.BatchNorm1d(3, dtype=dtype)  # with a scalar among its weights
    before = digest_of_weights(model)
    model.running_mean[1] = 0.5
    assert digest_of_weights(model) != before
    model.running_mean.zero_()
    assert digest_of_weights(model) == before
