"""The checkpoint that a run starts from: it fits, or the difference is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import Runner

from mmkd_logit.apis import build_runner, make_config

NET = """
net = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[99], std=[55], num_classes=10),
    backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64,
        loss=dict(type='CrossEntropyLoss')))
"""
RUN = """
default_scope = 'mmpretrain'
train_dataloader = dict(
    batch_size=32, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmkd_logit.Digits', split='train', indices=64,
        pipeline=[dict(type='PackInputs')]))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.0))
"""
DHKD = """
model = dict(type='mmkd_logit.LogitDistiller', student=net,
    teacher=dict(model=net, checkpoint=None), aux_head=dict(type='LinearLogitHead'),
    losses=dict(dhkd=dict(type='BinaryKLNormLoss', head='aux')))
"""
KD = """
model = dict(type='mmkd_logit.LogitDistiller', student=net,
    teacher=dict(model=net, checkpoint=None), losses=dict(kd=dict(type='KDLoss')))
"""
PLAIN = 'model = net\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, model in (('dhkd', DHKD), ('kd', KD), ('plain', PLAIN)):
        (tmp_path / f'{name}.py').write_text(RUN + NET + model)
    return tmp_path


@pytest.fixture
def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a student, and of an auxiliary head."""
    model = runner('dhkd').model
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator).abs()
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }


def runner(name: str, **options: Any) -> Runner:
    return build_runner(make_config(f'{name}.py', f'work/{name}', options))


def student_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix('student.'): value
        for name, value in weights.items()
        if name.startswith('student.')
    }


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize('name', ['dhkd', 'kd', 'plain'])
@pytest.mark.parametrize('ema', [False, True])
def test_files_that_fit(
    name: str, ema: bool, weights: dict[str, torch.Tensor], folder: Path
) -> None:
    """Of a distiller of any method, and of a plain student."""
    plain = student_of(weights)
    torch.save({'state_dict': plain}, folder / 'student.pth')
    torch.save({'state_dict': weights}, folder / 'dhkd.pth')
    hooks = [dict(type='EMAHook')] if ema else []
    for file in ('student.pth', 'dhkd.pth')[: 1 if name == 'plain' else 2]:
        run = runner(name, load_from=file, custom_hooks=hooks)
        run.train()
        found = run.model.state_dict()
        prefix = '' if name == 'plain' else 'student.'
        trained = [key for key in plain if 'running' not in key]
        for key in trained:
            assert torch.equal(found[prefix + key], plain[key]), key
        if name == 'dhkd':
            same = torch.equal(
                found['aux_head.fc.weight'], weights['aux_head.fc.weight']
            )
            assert same == (file == 'dhkd.pth')


@pytest.mark.filterwarnings('ignore:.*random weights')
def test_files_that_do_not_fit(weights: dict[str, torch.Tensor], folder: Path) -> None:
    torch.save({'conv1.weight': torch.ones(1)}, folder / 'foreign.pth')
    plain = student_of(weights)
    plain['head.fc.weight'], plain['head.fc.bias'] = torch.ones(7, 64), torch.ones(7)
    torch.save(plain, folder / 'classes.pth')
    for name in ('kd', 'plain'):
        for file, said in (
            ('foreign.pth', r'in the model only.*No name in the file is known'),
            ('classes.pth', r'head.fc.weight: file \(7, 64\), model \(10, 64\)'),
        ):
            with pytest.raises(ValueError, match=rf'(?s){file}.*{said}.*strict_load'):
                runner(name, load_from=file).train()
    run = runner('kd', load_from='classes.pth', strict_load=False)
    run.train()
    (log,) = Path(run.log_dir).glob('*.log')
    assert 'head.fc.weight: file (7, 64)' in log.read_text()
    found = run.model.student.state_dict()
    key = 'backbone.conv1.weight'
    assert torch.equal(found[key], plain[key])
    assert found['head.fc.weight'].shape == (10, 64)


@pytest.mark.filterwarnings('ignore:.*random weights')
def test_a_run_is_resumed_with_its_own_model(folder: Path) -> None:
    runner('kd').train()
    other = {'net.backbone.arch': 'resnet14', 'model.student.backbone.arch': 'resnet14'}
    run = runner('kd', load_from='work/kd/epoch_1.pth', resume=True, **other)
    with pytest.raises(ValueError, match=r'(?s)does not fit.*its own model only'):
        run.train()
