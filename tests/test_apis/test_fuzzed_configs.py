"""Settings of a wrong type are refused before training, and every refusal names a key.

500 mutations of configs and suites, drawn with a seed.
"""

from __future__ import annotations

import gc
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, runner
from mmpretrain.datasets import BaseDataset

from mmkd_logit.apis import build_runner, check_data, make_config
from mmkd_logit.errors import is_mistake, message_of
from mmkd_logit.suites import Report, plan_runs, read_suite

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights:UserWarning')

BEGIN = 'before_train'
WRONG: list[Any] = [
    *(None, 3, 0.5, math.nan, math.inf, True, 'x', [], [1, 'a'], [None], [[1]], {}),
    *({'a': {'b': [1]}}, {1: 2}, {'type': 'Nope'}, {'type': 3}),
]


@DATASETS.register_module(force=True)
class FourImages(BaseDataset):
    """Grey images that need no file."""

    METAINFO = {'classes': tuple('abc')}

    def load_data_list(self) -> list[dict]:
        images = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 1), np.uint8)
        return [dict(img=image, gt_label=i % 3) for i, image in enumerate(images)]


def classifier() -> dict:
    return dict(
        type='ImageClassifier',
        backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=1),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=3,
            in_channels=64,
            loss=dict(type='CrossEntropyLoss'),
        ),
    )


def teacher(**more: Any) -> dict:
    model = dict(_scope_='mmpretrain', **classifier())
    return dict(model=model, checkpoint=None, **more)


def training(model: dict, **more: Any) -> dict:
    dataset = dict(type='FourImages', ann_file='', pipeline=[dict(type='PackInputs')])
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    config = dict(
        default_scope='mmpretrain',
        model=model,
        data_preprocessor=dict(mean=[127.0], std=[64.0], num_classes=3),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=dict(type='Accuracy', topk=(1,)),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=[dict(type='MultiStepLR', milestones=[1], gamma=0.1)],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'),
            logger=dict(type='LoggerHook', interval=1),
            teacher_check=dict(type='mmkd_logit.TeacherCheckHook'),
            export_student=dict(type='mmkd_logit.ExportStudentHook'),
        ),
        visualizer=dict(type='Visualizer', vis_backends=[]),
        randomness=dict(seed=0),
        resume=False,
        load_from=None,
        log_level='ERROR',
        work_dir='work',
    )
    return config | more


def distiller(losses: dict, teacher: Any, **more: Any) -> dict:
    student = classifier()
    name = 'mmkd_logit.LogitDistiller'
    return dict(type=name, student=student, teacher=teacher, losses=losses, **more)


def segmentor() -> dict:
    head = dict(
        type='FCNHead',
        in_channels=64,
        channels=64,
        in_index=0,
        num_convs=0,
        concat_input=False,
        num_classes=2,
        loss_decode=dict(type='CrossEntropyLoss'),
    )
    backbone = dict(type='mmkd_logit.CIFARResNet', arch='resnet8')
    test_cfg = dict(mode='whole')
    name = 'EncoderDecoder'
    return dict(type=name, backbone=backbone, decode_head=head, test_cfg=test_cfg)


def segmentation() -> dict:
    steps = 'LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs'
    dataset = dict(
        type='BaseSegDataset',
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b')),
        pipeline=[dict(type=name) for name in steps],
    )
    losses = dict(cwd=dict(type='CWDLoss', tau=4.0), kd=dict(type='KDLoss', tau=1.0))
    student = segmentor()
    teacher = dict(model=dict(_scope_='mmseg', **segmentor()), checkpoint=None)
    config = training(
        dict(
            type='mmkd_logit.LogitDistiller',
            student=student,
            teacher=teacher,
            losses=losses,
            resolution='label',
        ),
        default_scope='mmseg',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[99.0] * 3, std=[55.0] * 3, size=(8, 8)
        ),
        val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1),
    )
    for name in ('train_dataloader', 'val_dataloader'):
        config[name] = {**config[name], 'dataset': dataset}
    return config


CONFIGS = {
    'kd': training(
        distiller(
            dict(kd=dict(type='KDLoss', tau=4.0, transforms=['standardize'])),
            teacher(),
            task_loss_weight=1.0,
            kendall_tau_rows=4,
        )
    ),
    'aligned_dhkd': training(
        distiller(
            dict(
                dhkd=dict(type='BinaryKLNormLoss', tau=2.0, head='aux'),
                mlkd=dict(type='MLKDLoss', taus=[2.0, 3.0]),
            ),
            teacher(),
            aux_head=dict(type='MLPLogitHead', hidden_channels=8, dropout=0.1),
        ),
        optim_wrapper=dict(
            type='mmkd_logit.GradAlignOptimWrapper',
            scope='shared',
            optimizer=dict(type='SGD', lr=0.1),
            clip_grad=dict(max_norm=1.0),
        ),
        custom_hooks=[
            dict(type='mmkd_logit.LossWeightHook', end=1, names=['dhkd']),
            dict(type='mmkd_logit.GradientConflictHook', interval=1),
        ],
    ),
    'mcld_of_views': training(
        distiller(
            dict(mcld=dict(type='MCLDLoss', tau=0.5, queue_size=8, category=True)),
            teacher(views=2, view_seed=0, dtype='float32', class_map=[0, 1, 2]),
        )
    ),
    'ensemble': training(
        distiller(
            dict(dkd=dict(type='DKDLoss', alpha=1.0), kt=dict(type='KendallTauLoss')),
            [teacher(weight=0.5, name='a'), teacher(name='b', resize=[8, 8])],
            teacher_average='probabilities',
        )
    ),
    'segmentation': segmentation(),
}
SUITE = dict(
    rows={
        'plain': 'plain.py',
        'KD': dict(
            config='kd.py',
            options={'train_cfg.max_epochs': 1, 'model': dict(task_loss_weight=0.5)},
            published=dict(best=71.0, source='a paper'),
            baseline='plain',
        ),
    },
    seeds=[0, 1],
    metric='accuracy/top1',
    baseline='plain',
    options={'train_cfg.max_epochs': 2},
    prepare={'data/x': ['dataset_converters/make_scenes.py', 'data/x']},
    teacher=dict(config='plain.py', options={'randomness.seed': 1}),
)


def lists(settings: Any) -> Any:
    """Copy settings, with lists in place of tuples."""
    if isinstance(settings, dict):
        return {key: lists(value) for key, value in settings.items()}
    is_list = isinstance(settings, list | tuple)
    return [lists(value) for value in settings] if is_list else settings


def paths(settings: Any, path: tuple = ()) -> Iterator[tuple]:
    """All paths into nested settings."""
    items: Any = ()
    if isinstance(settings, dict | list):
        is_dict = isinstance(settings, dict)
        items = settings.items() if is_dict else enumerate(settings)
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def dotted(path: tuple) -> str:
    parts = (f'[{key}]' if isinstance(key, int) else f'.{key}' for key in path)
    return ''.join(parts).lstrip('.')


def mutate(settings: dict, draw: random.Random) -> tuple[dict, tuple]:
    """Put a value of another type at a random place, or remove a type."""
    settings = lists(settings)
    path = draw.choice(list(paths(settings)))
    parent = settings
    for key in path[:-1]:
        parent = parent[key]
    *_, last = path
    if last == 'type' and draw.random() < 0.3:
        del parent[last]
    else:
        was = type(parent[last])
        parent[last] = draw.choice([v for v in WRONG if not isinstance(v, was)])
    return settings, path


def names_setting(message: str, path: tuple) -> bool:
    """Whether a message names a setting of a suite, whichever row it is for."""
    *_, last = (key for key in path if isinstance(key, str))
    return last in message


def write(path: str, settings: dict) -> None:
    lines = (f'{key} = {value!r}' for key, value in settings.items())
    text = re.sub(r'\b(nan|inf)\b', r"float('\1')", '\n'.join(lines))
    Path(path).write_text(text)


def names_key(message: str, path: tuple) -> bool:
    """Whether a message names a key, or the part that it belongs to."""
    keys = [dotted(path[:count]) for count in range(len(path), 0, -1)]
    keys = keys[:-1] if keys[-1] == 'model' and len(keys) > 1 else keys
    keys += [key.removeprefix('model.') for key in keys]
    return any(re.search(rf'(?<![\w.]){re.escape(key)}(?!\w)', message) for key in keys)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and their label maps, and nothing that takes time."""
    monkeypatch.chdir(tmp_path)
    for name, channels in (('images', 3), ('maps', 1)):
        Path(name).mkdir()
        for index in range(2):
            pixels = np.full((8, 8, channels), index, np.uint8)
            cv2.imwrite(f'{name}/{index}.png', pixels)
    monkeypatch.setattr(runner, 'collect_env', dict)
    monkeypatch.setattr(Config, 'pretty_text', '')
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    for loop in (EpochBasedTrainLoop, IterBasedTrainLoop):
        monkeypatch.setattr(loop, 'run', lambda self: self.runner.call_hook(BEGIN))


def prepare_training(name: str) -> None:
    """All that comes before the first step."""
    cfg = make_config(name, 'work')
    check_data(cfg, ('train_dataloader', 'val_dataloader'))
    build_runner(cfg).train()


def prepare_suite(name: str) -> None:
    """All of a suite but its runs."""
    suite = read_suite(name)
    suite.check()
    Report.of_runs(suite, plan_runs(suite, Path('work')), 1).table()


def refusals(
    settings: dict,
    count: int,
    name: str,
    prepare: Callable[[str], None],
    names: Callable[[str, tuple], bool],
) -> list[str]:
    """Mutate settings, and return what is wrong with their refusals."""
    draw = random.Random(0)
    wrong, refused = [], 0
    for number in range(count):
        changed, path = mutate(settings, draw)
        # mmengine keeps loggers and scopes by the name of the config and the second.
        file = f'{name}_{number}.py'
        write(file, changed)
        try:
            prepare(file)
        except Exception as error:
            refused += 1
            told = f'{dotted(path)}: {type(error).__name__}: {message_of(error)}'
            if not is_mistake(error) or not names(message_of(error), path):
                wrong.append(told)
    assert refused > count / 2
    return wrong


@pytest.mark.parametrize('name', CONFIGS)
def test_configs(name: str) -> None:
    write(f'{name}.py', lists(CONFIGS[name]))
    prepare_training(f'{name}.py')
    wrong = refusals(CONFIGS[name], 80, name, prepare_training, names_key)
    assert not wrong, '\n'.join(wrong)


def test_suites() -> None:
    write('plain.py', lists(training(classifier(), default_hooks={})))
    write('kd.py', lists(CONFIGS['kd']))
    write('base.py', SUITE)
    prepare_suite('base.py')
    wrong = refusals(SUITE, 100, 'suite', prepare_suite, names_setting)
    assert not wrong, '\n'.join(wrong)
