"""Every config builds its model; every metafile tells where its numbers are from."""

from __future__ import annotations

import re
from pathlib import Path

import mmpretrain
import mmseg
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmkd_logit.registry import MODELS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'configs').glob('*/*.py')
    if path.parent.name != '_base_'
)
DISTILLERS = [path for path in CONFIGS if not path.startswith('configs/baseline/')]
# On Cityscapes both methods have the same large teachers; one step each will do.
STEPPED = [path for path in DISTILLERS if not re.match(r'.*/kd/.*_cityscapes', path)]
METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yml'))


def build(cfg: Config) -> torch.nn.Module:
    """The model as the Runner builds it."""
    init_default_scope(cfg.default_scope)
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('path', CONFIGS)
def test_builds(path: str) -> None:
    cfg = Config.fromfile(ROOT / path)
    model = build(cfg)
    assert sum(p.numel() for p in model.parameters()) > 10_000
    assert cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters')) > 1


def preprocessed(cfg: Config) -> dict:
    """A batch of two small images with labels."""
    if cfg.default_scope == 'mmseg':
        samples = []
        for _ in range(2):
            sample = SegDataSample(metainfo=dict(img_shape=(64, 128), sample_idx=0))
            sample.gt_sem_seg = PixelData(data=torch.randint(19, (1, 64, 128)))
            samples.append(sample)
        return dict(inputs=torch.randn(2, 3, 64, 128), data_samples=samples)
    channels = len(cfg.data_preprocessor.mean)
    samples = [
        DataSample(metainfo=dict(sample_idx=label)).set_gt_label(label)
        for label in (1, 2)
    ]
    return dict(inputs=torch.randn(2, channels, 32, 32), data_samples=samples)


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize('path', STEPPED)
def test_a_step_of_each_distiller(path: str) -> None:
    cfg = Config.fromfile(ROOT / path)
    assert cfg.model.teacher.checkpoint
    cfg.model.teacher.checkpoint = None
    # Nothing is downloaded.
    cfg.model.student.pretrained = None
    cfg.model.student.backbone.init_cfg = None
    model = build(cfg)
    model.init_weights()
    losses = model(**preprocessed(cfg), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert {f'loss_{name}' for name in cfg.model.losses} <= set(losses)


@pytest.mark.parametrize('path', DISTILLERS)
def test_differs_from_its_baseline_in_the_method_alone(path: str) -> None:
    cfg = Config.fromfile(ROOT / path)
    parts = Path(path).stem.split('_')
    # In this folder the loss that it joins comes first.
    student, dataset = parts[2:4] if '/kendall_tau/' in path else parts[1:3]
    baseline = Config.fromfile(ROOT / f'configs/baseline/{student}_{dataset}.py')
    assert cfg.model.student == baseline.model
    if 'mcld' in path:
        # Pixels are told apart by their image; MCLD's first gradients are clipped.
        pipeline = cfg.train_dataloader.dataset.get('pipeline')
        if cfg.default_scope == 'mmseg':
            assert 'sample_idx' in pipeline.pop().meta_keys
            baseline.train_dataloader.dataset.pipeline.pop()
            for transform in pipeline:  # where it was inherited from
                assert transform.pop('_scope_') == 'mmseg'
        if dataset == 'digits':
            assert cfg.optim_wrapper.pop('clip_grad') == dict(max_norm=5.0)
    if Path(path).stem.endswith('_ga'):
        # The method changes how the optimizer steps, but not the optimizer.
        assert cfg.optim_wrapper.pop('type') == 'mmkd_logit.GradAlignOptimWrapper'
    for key in baseline:
        if key not in ('model', 'default_hooks'):
            assert cfg[key] == baseline[key], key
    for key, hook in baseline.default_hooks.items():
        assert cfg.default_hooks[key] == hook, key


def test_imagenet_recipe() -> None:
    cfg = Config.fromfile(ROOT / 'configs/dhkd/res34_res18_in1k.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('SGD', 0.1)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 1e-4)
    assert cfg.param_scheduler.milestones == [30, 60, 90]
    assert cfg.train_cfg.max_epochs == 100
    assert (
        cfg.auto_scale_lr.base_batch_size == 256 == 8 * cfg.train_dataloader.batch_size
    )
    (loss,) = cfg.model.losses.values()
    assert (loss.loss_weight, loss.tau, loss.head) == (0.1, 2.0, 'aux')
    (hook,) = cfg.custom_hooks
    assert (hook.type, hook.end) == ('mmkd_logit.LossWeightHook', 49)


@pytest.mark.parametrize(
    'path', [path for path in CONFIGS if path.startswith('configs/kendall_tau/')]
)
def test_kendall_tau_has_the_weight_of_the_loss_that_it_joins(path: str) -> None:
    method, pair = Path(path).stem.split('_', 1)
    joined = Config.fromfile(ROOT / f'configs/{method}/{pair}.py')
    cfg = Config.fromfile(ROOT / path)
    loss = cfg.model.losses.pop('kendall_tau')
    assert cfg.model == joined.model
    assert cfg.get('custom_hooks') == joined.get('custom_hooks')
    (other,) = joined.model.losses.values()
    assert (loss.type, loss.k) == ('KendallTauLoss', 100.0)
    assert loss.loss_weight == other.get('loss_weight', 1.0)
    assert loss.get('head') == other.get('head')


def test_a_child_config_and_the_command_line_override(tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    leaf = ROOT / 'configs/dhkd/res20_res8_digits.py'
    child.write_text(
        f'_base_ = {str(leaf)!r}\n'
        'model = dict(losses=dict(dhkd=dict(loss_weight=0.5)), student=dict('
        "backbone=dict(arch='resnet14')))\n"
        'default_hooks = dict(teacher_check=dict(minimum=50.0))\n'
    )
    cfg = Config.fromfile(child)
    cfg.merge_from_dict({'model.losses.dhkd.tau': 3.0, 'model.teacher.checkpoint': 'x'})
    model = build(cfg)
    assert model.losses['dhkd'].weight == 0.5 and model.losses['dhkd'].tau == 3.0
    assert model.teacher.checkpoint == 'x'
    assert len(model.student.backbone.layer1) == 2
    assert cfg.default_hooks.teacher_check.minimum == 50.0


@pytest.mark.parametrize('path', DISTILLERS)
def test_teacher_is_what_the_toolbox_publishes(path: str) -> None:
    teacher = Config.fromfile(ROOT / path).model.teacher
    package, found, name = teacher.config.partition('::')
    if not found:  # trained here
        assert Path(teacher.config).resolve().is_relative_to(ROOT / 'configs')
        return
    toolbox = {'mmpretrain': mmpretrain, 'mmseg': mmseg}[package]
    folder = Path(toolbox.__file__).parent / '.mim' / 'configs'
    (path,) = (folder / name).parent.glob('metafile.y*ml')
    metafile = yaml.safe_load(path.read_text())
    published = {m['Config']: m['Weights'] for m in metafile['Models'] if 'Config' in m}
    weights = published[f'configs/{name}']
    # The hosts of the two stacks differ, the files do not.
    assert Path(weights).name == Path(teacher.checkpoint).name


@pytest.mark.parametrize('path', METAFILES, ids=lambda path: path.parent.name)
def test_metafile(path: Path) -> None:
    meta = yaml.safe_load(path.read_text())
    (collection,) = meta['Collections']
    assert (ROOT / collection['README']).is_file()
    listed = [model['Config'] for model in meta['Models']]
    assert sorted(listed) == [c for c in CONFIGS if c.split('/')[1] == path.parent.name]
    names = [model['Name'] for model in meta['Models']]
    assert len(set(names)) == len(names)
    for model in meta['Models']:
        assert model['In Collection'] == collection['Name']
        for result in model.get('Results', []):
            assert result['Origin'] in ('published', 'measured'), model['Name']
            assert result['Source'], model['Name']
            assert all(0 < value <= 100 for value in result['Metrics'].values())


def test_every_method_has_readme_and_metafile() -> None:
    for folder in {(ROOT / path).parent for path in CONFIGS}:
        text = (folder / 'README.md').read_text()
        assert (folder / 'metafile.yml') in METAFILES
        for path in CONFIGS:
            if (ROOT / path).parent == folder:
                assert path in text, f'{folder.name}/README.md does not name {path}'
