"""Errors of the toolboxes name the key of the part that failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmpretrain.datasets import CIFAR100

from mmkd_logit.apis import build_model
from mmkd_logit.apis.key_at_fault import naming_key
from mmkd_logit.flat import difference


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'head.num_classes': 'x'}, "model.head cannot be built: TypeError: '<=' not"),
        ({'head.loss.type': 'Nope'}, 'model.head.loss cannot be built: KeyError: Nope'),
        ({'neck.type': 3}, 'model.neck cannot be built: TypeError: type must be a str'),
        ({'backbone': [1]}, 'model.backbone cannot be built: TypeError: cfg should be'),
        (
            {'backbone.arch': 'x'},
            'model.backbone cannot be built: .*ValueError: .*arch',
        ),
    ],
)
def test_models(changes: dict, message: str, classifier: Callable[..., dict]) -> None:
    cfg = Config(dict(default_scope='mmpretrain', model=classifier()))
    for key, value in changes.items():
        parent, _, name = f'model.{key}'.rpartition('.')
        node = cfg
        for part in parent.split('.'):
            node = node[part]
        node[name] = value
    with pytest.raises(ValueError, match=rf'^{message}'):
        build_model(cfg)


def test_what_fails_when_it_runs(classifier: Callable[..., dict]) -> None:
    cfg = Config(dict(default_scope='mmpretrain', model=classifier(in_channels=7)))
    model = build_model(cfg)
    with (
        pytest.raises(ValueError, match=r'^model.head failed: RuntimeError: mat1 and'),
        naming_key(cfg),
    ):
        model(torch.ones(2, 3, 8, 8))
    assert len(cfg.model.head) > 3  # the config is not changed


def unchanged(error: type[Exception], work: Callable[[], Any]) -> str:
    with pytest.raises(error) as info, naming_key(Config(dict(model=dict(type='X')))):
        work()
    return str(info.value)


def test_other_errors_stay() -> None:
    assert unchanged(TypeError, lambda: difference(1, 2))  # type: ignore[arg-type]
    assert unchanged(KeyError, lambda: {}['x']) == "'x'"
    said = unchanged(FileNotFoundError, Path('nowhere').read_text)
    assert said == "[Errno 2] No such file or directory: 'nowhere'"
    assert 'Nope is not in the' in unchanged(
        KeyError, lambda: MODELS.build(dict(type='Nope'))
    )


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise URLError('Name or service not known')

    monkeypatch.setattr('mmpretrain.datasets.cifar.download_and_extract_archive', fails)
    dataset = dict(type='CIFAR100', data_root='no_data', split='test', pipeline=[])
    loader = dict(dataset=dataset, batch_size=2, sampler=dict(type='DefaultSampler'))
    cfg = Config(dict(default_scope='mmpretrain', val_dataloader=loader))
    with pytest.raises(ValueError) as error, naming_key(cfg):
        Runner.build_dataloader(cfg.val_dataloader)
    assert str(error.value) == (
        'val_dataloader.dataset cannot be built: <urlopen error Name or service not '
        f"known>. Download {CIFAR100.url} by other means and unpack it in 'no_data', "
        'or set val_dataloader.dataset.data_root to where the data is.'
    )
