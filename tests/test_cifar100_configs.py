"""The configs for CIFAR-100 hold what the papers and their authors' code say."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from make_cifar100_folder import SmallCIFAR100, make_cifar100_folder
from mmengine.config import Config
from mmengine.dataset import default_collate

from mmkd_logit.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
METHODS = sorted(
    path.parent.name
    for path in CONFIGS.glob('*/cifar100')
    if path.parent.name != 'baseline'
)
# Teacher and student of one family, and of two.
SAME = {
    *('res56_res20', 'res110_res20', 'res110_res32', 'res32x4_res8x4'),
    *('wrn40-2_wrn16-2', 'wrn40-2_wrn40-1', 'vgg13_vgg8'),
}
ACROSS = {
    *('vgg13_mv2', 'res50_mv2', 'res50_vgg8'),
    *('res32x4_shn-v1', 'res32x4_shn-v2', 'wrn40-2_shn-v1'),
    *('res32x4_wrn16-2', 'res32x4_wrn40-2', 'wrn40-2_res8x4', 'wrn40-2_mv2'),
}
PAIRS = sorted(SAME | ACROSS)
NETWORKS = sorted({network for pair in PAIRS for network in pair.split('_')})
SLOW = ('mv2', 'shn-v1', 'shn-v2')
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)

every_pair = pytest.mark.parametrize('pair', PAIRS)
every_network = pytest.mark.parametrize('network', NETWORKS)


def read(method: str, name: str) -> Config:
    return Config.fromfile(CONFIGS / method / 'cifar100' / f'{name}.py')


def test_there_are_all_pairs_and_networks() -> None:
    assert len(PAIRS) == 17
    for folder in ('baseline', '_base_/pairs', *METHODS):
        files = (CONFIGS / folder / 'cifar100').glob('*.py')
        expected = NETWORKS if folder == 'baseline' else PAIRS
        assert sorted(path.stem for path in files) == expected, folder


@every_network
def test_schedule(network: str) -> None:
    cfg = read('baseline', network)
    assert cfg.optim_wrapper == dict(
        optimizer=dict(
            type='SGD',
            lr=0.01 if network in SLOW else 0.05,
            momentum=0.9,
            weight_decay=5e-4,
        )
    )
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (240, 1)
    assert cfg.param_scheduler == dict(
        type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1
    )
    assert cfg.default_hooks.checkpoint.save_best == 'auto'
    assert cfg.train_dataloader.batch_size == 64
    assert not cfg.train_dataloader.get('drop_last')


def test_data(tmp_path: Path) -> None:
    make_cifar100_folder(tmp_path)
    cfg = read('baseline', 'res20')
    settings = dict(cfg.train_dataloader.dataset, data_root=str(tmp_path))
    assert settings.pop('type') == 'CIFAR100'
    dataset = SmallCIFAR100(**settings)
    assert len(dataset) == 80
    assert dataset.metainfo['classes'][:2] == ('apple', 'aquarium_fish')

    with (tmp_path / 'cifar-100-python' / 'train').open('rb') as file:
        held = pickle.load(file)
    preprocess = MODELS.build(dict(type='ClsDataPreprocessor', **cfg.data_preprocessor))
    batch = preprocess(default_collate([dataset[7] for _ in range(200)]), training=True)
    # What torchvision makes of an image: in [0, 1], normalized, red first. The border
    # is black before that.
    image = held['data'][7].reshape(3, 32, 32).astype(np.float32) / 255
    border = ((0, 0), (4, 4), (4, 4))
    mean, std = (np.float32(each).reshape(3, 1, 1) for each in (MEAN, STD))
    padded = torch.from_numpy((np.pad(image, border) - mean) / std)
    crops = padded.unfold(1, 32, 1).unfold(2, 32, 1).flatten(1, 2).transpose(0, 1)
    crops = torch.cat([crops, crops.flip(-1)])
    distance = torch.cdist(batch['inputs'].flatten(1), crops.flatten(1), p=torch.inf)
    nearest, place = distance.min(dim=1)
    assert nearest.max() < 1e-5
    assert len(place.unique()) > 50 and 40 < (place < 81).sum() < 160
    assert all(
        sample.gt_label == held['fine_labels'][7] == 7
        for sample in batch['data_samples']
    )


def starts_as_torch_s(layer: torch.nn.Linear) -> None:
    """Uniform within 1 / sqrt(features), the bias too."""
    bound = layer.in_features**-0.5
    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert 0.8 * bound < layer.bias.abs().max() <= bound


@every_network
def test_how_classifiers_start(network: str) -> None:
    """Those of teachers and students; the distillers have the same configs."""
    model = MODELS.build(read('baseline', network).model)
    model.init_weights()
    layer = model.head.fc
    if network in ('vgg8', 'vgg13', 'mv2'):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert layer.weight.abs().max() > 0.03  # normal
        assert not layer.bias.any()
    else:
        starts_as_torch_s(layer)


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize(
    'path',
    [
        'dhkd/cifar100/res56_res20',
        'dhkd/cifar100/vgg13_mv2',
        'dhkd/res50_mobilenetv1_in1k',
    ],
)
def test_how_heads_of_distillers_start(path: str) -> None:
    """A linear auxiliary head, a nonlinear one, and MobileNetV1 with its own."""
    cfg = Config.fromfile(CONFIGS / f'{path}.py')
    # A small teacher, of as many classes.
    cfg.model.teacher = dict(model=cfg.model.student, checkpoint=None)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()
    layers = [m for m in model.aux_head.modules() if isinstance(m, torch.nn.Linear)]
    assert len(layers) == 2 - ('Linear' in cfg.model.aux_head.type)
    if 'mobilenetv1' in path:
        layers.append(model.student.head.fc)
    for layer in layers:
        starts_as_torch_s(layer)


def published(network: str) -> float:
    """Top-1 of a plain network in the metafile of the baselines."""
    metafile = yaml.safe_load((CONFIGS / 'baseline' / 'metafile.yml').read_text())
    results = {model['Name']: model.get('Results') for model in metafile['Models']}
    return results[f'{network}_cifar100'][0]['Metrics']['Top 1 Accuracy']


@every_pair
def test_teacher(pair: str) -> None:
    """It is the one of the pair's name, and must be nearly as good as published."""
    teacher, _ = pair.split('_')
    cfg = read('_base_/pairs', pair)
    config = Path(cfg.model.teacher.config).resolve()
    assert config == CONFIGS / 'baseline' / 'cifar100' / f'{teacher}.py'
    check = cfg.default_hooks.teacher_check
    assert check.metric == 'accuracy/top1'
    assert 1 < published(teacher) - check.minimum < 2


@every_pair
def test_kd(pair: str) -> None:
    model = read('kd', pair).model
    (loss,) = model.losses.values()
    assert (loss.type, loss.tau, loss.loss_weight) == ('KDLoss', 4.0, 0.9)
    assert model.task_loss_weight == 0.1


@every_pair
def test_dhkd(pair: str) -> None:
    cfg = read('dhkd', pair)
    (loss,) = cfg.model.losses.values()
    assert (loss.type, loss.tau, loss.head) == ('BinaryKLNormLoss', 2.0, 'aux')
    head = ('LinearLogitHead', 0.1) if pair in SAME else ('MLPLogitHead', 1.0)
    assert (cfg.model.aux_head.type, loss.loss_weight) == head
    assert cfg.model.get('task_loss_weight', 1.0) == 1.0
    plain = read('baseline', pair.split('_')[1]).optim_wrapper
    assert cfg.optim_wrapper == dict(plain, type='mmkd_logit.GradAlignOptimWrapper')


@every_pair
def test_mcld(pair: str) -> None:
    model = read('mcld', pair).model
    (loss,) = model.losses.values()
    assert loss == dict(type='MCLDLoss', tau=0.2)
    with_cross_entropy = re.match('res(56|110)_', pair) is not None
    assert model.task_loss_weight == float(with_cross_entropy)


def losses(method: str, pair: str) -> dict:
    """The losses of a method, with all weights in it; the task's under 'task'."""
    model = read(method, pair).model
    return dict(model.losses.to_dict(), task=model.get('task_loss_weight', 1.0))


@every_pair
def test_dkd(pair: str) -> None:
    beta = 8.0
    if re.match('(vgg13|wrn40-2)_(?!shn)', pair):
        beta = 6.0
    if re.match('res(56|110)_', pair):
        beta = 2.0
    dkd = dict(type='DKDLoss', alpha=1.0, beta=beta, tau=4.0)
    assert losses('dkd', pair) == dict(dkd=dkd, task=1.0)
    # LSKD: both terms times 9, the cross entropy and the warm-up stay.
    dkd.update(alpha=9.0, beta=9 * beta, tau=2.0, transforms=['standardize'])
    assert losses('dkd_standardize', pair) == dict(dkd=dkd, task=1.0)


@pytest.mark.parametrize(
    'method', ['dkd', 'dkd_standardize', 'dkd_kendall-tau', 'rld', 'gkl']
)
def test_warmup(method: str) -> None:
    (hook,) = read(method, 'res56_res20').custom_hooks
    assert hook == dict(type='mmkd_logit.LossWeightHook', warmup=20)


# Temperature and weight in the names of LSKD's logs.
LOGGED = {
    'res110_res20': (4.0, 12.0),
    'vgg13_vgg8': (3.0, 9.0),
    'vgg13_mv2': (3.0, 9.0),
    'res50_mv2': (3.0, 1.0),
    'res32x4_wrn16-2': (3.0, 9.0),
    'res32x4_wrn40-2': (3.0, 9.0),
    'wrn40-2_mv2': (3.0, 9.0),
}


@every_pair
def test_standardized_kd(pair: str) -> None:
    tau, weight = LOGGED.get(pair, (2.0, 9.0))
    kd = dict(type='KDLoss', tau=tau, loss_weight=weight, transforms=['standardize'])
    assert losses('kd_standardize', pair) == dict(kd=kd, task=0.1)


# Exponent and weight in the appendix of WTTM's paper; ours for the other pairs.
OF_WTTM = {
    'wrn40-2_wrn16-2': (0.1, 4.0),
    'wrn40-2_wrn40-1': (0.1, 3.0),
    'res56_res20': (0.3, 1.5),
    'res110_res20': (0.2, 2.0),
    'res110_res32': (0.1, 1.5),
    'res32x4_res8x4': (0.1, 3.0),
    'vgg13_vgg8': (0.1, 2.25),
    'vgg13_mv2': (0.2, 3.0),
    'res50_mv2': (0.2, 5.0),
    'res50_vgg8': (0.1, 2.0),
    'res32x4_shn-v1': (0.2, 1.4),
    'res32x4_shn-v2': (0.4, 16.0),
    'wrn40-2_shn-v1': (0.3, 3.0),
}


@every_pair
def test_wttm(pair: str) -> None:
    gamma, weight = OF_WTTM.get(pair, (0.1, 3.0))
    wttm = dict(type='WTTMLoss', gamma=gamma, loss_weight=weight)
    assert losses('wttm', pair) == dict(wttm=wttm, task=1.0)


@every_pair
def test_mlkd(pair: str) -> None:
    mlkd = dict(type='MLKDLoss', taus=[2.0, 3.0, 4.0, 5.0, 6.0], loss_weight=0.9)
    assert losses('mlkd', pair) == dict(mlkd=mlkd, task=0.1)
    light = pair.split('_')[1] in SLOW
    for method in ('mlkd', 'mlkd_standardize', 'mlkd_kendall-tau'):
        assert read(method, pair).optim_wrapper.optimizer.lr == (
            0.01 if light else 0.025
        )


def test_terms_of_mlkd_that_are_standardized() -> None:
    taus = [2.0, 2.0, 3.0, 5.0, 6.0]
    assert losses('mlkd_standardize', 'res56_res20') == dict(
        mlkd=dict(
            type='MLKDLoss',
            taus=taus,
            class_correlation=False,
            batch_correlation=False,
            loss_weight=9.0,
            transforms=['standardize'],
        ),
        correlations=dict(type='MLKDLoss', taus=taus, kd=False, loss_weight=9.0),
        task=0.1,
    )


@pytest.mark.parametrize(
    ('method', 'expected'),
    [
        ('dist', dict(dist=dict(type='DISTLoss', tau=4.0, loss_weight=2.0), task=1.0)),
        ('nkd', dict(nkd=dict(type='NKDLoss', gamma=3.5, tau=3.0), task=1.0)),
        (
            'rld',
            dict(
                rld=dict(type='RLDLoss', alpha=1.0, beta=8.0, tau=4.0, alpha_tau=1.0),
                task=1.0,
            ),
        ),
        ('wsld', dict(wsld=dict(type='WSLDLoss', tau=4.0, loss_weight=2.25), task=1.0)),
        ('ctkd', dict(ctkd=dict(type='CTKDLoss', loss_weight=0.9), task=0.1)),
        ('kd_dot', dict(kd=dict(type='KDLoss', tau=4.0, loss_weight=0.9), task=0.1)),
    ],
)
def test_methods_that_are_the_same_for_all_pairs(method: str, expected: dict) -> None:
    for pair in PAIRS[::8]:
        assert losses(method, pair) == expected, pair
