from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmkd_logit.models.distillers.config_text import parse_config
from mmkd_logit.models.distillers.student_config import student_config

CONFIGS = Path(__file__).parents[3] / 'configs'


def make(**settings: Any) -> Config:
    model = dict(
        type='mmkd_logit.LogitDistiller',
        student=dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18)),
        teacher=dict(config='x', checkpoint='y'),
        losses=dict(kd=dict(type='KDLoss')),
    )
    model.update(settings.pop('model', {}))
    return Config(dict(model=model, default_scope='mmpretrain', **settings))


def plain(cfg: Config, tmp_path: Path) -> Config:
    """The exported config, as anybody reads it."""
    path = tmp_path / 'student.py'
    path.write_text(student_config(cfg))
    return Config.fromfile(path)


def test_the_run_and_this_package_are_left_behind(tmp_path: Path) -> None:
    ours = dict(type='mmkd_logit.ExportStudentHook')
    exported = plain(
        make(
            resume=True,
            load_from='x.pth',
            work_dir='work',
            method=dict(losses={}),
            custom_imports=dict(imports=['mmkd_logit', 'mine']),
            custom_hooks=[dict(type='EMAHook'), ours],
            default_hooks=dict(logger=None, teacher_check=None, export=ours),
            optim_wrapper=dict(
                type='mmkd_logit.GradAlignAmpOptimWrapper',
                scope='shared',
                optimizer=dict(type='SGD', lr=0.1),
                paramwise_cfg=dict(custom_keys={'student.backbone': dict(lr_mult=0.1)}),
            ),
        ),
        tmp_path,
    )
    assert exported.model == make().model.student
    assert set(exported) == {
        *('model', 'default_scope', 'custom_hooks', 'default_hooks', 'optim_wrapper'),
    }
    assert exported.custom_hooks == [dict(type='EMAHook')]
    assert exported.default_hooks == dict(logger=None)
    assert exported.optim_wrapper == dict(
        type='AmpOptimWrapper',
        optimizer=dict(type='SGD', lr=0.1),
        paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
    )


def test_normalization_of_the_distiller_is_the_student_s(tmp_path: Path) -> None:
    preprocessor = dict(mean=[1.0], std=[2.0])
    exported = plain(make(model=dict(data_preprocessor=preprocessor)), tmp_path)
    assert exported.model.data_preprocessor == preprocessor


def test_a_training_set_of_ours_goes_with_its_optimizer(tmp_path: Path) -> None:
    loader = dict(dataset=dict(type='mmkd_logit.Digits'))
    theirs = dict(dataset=dict(type='ImageNet'))
    cfg = make(
        train_dataloader=loader,
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD')),
        param_scheduler=dict(type='MultiStepLR'),
        val_dataloader=theirs,
        val_cfg={},
        val_evaluator=dict(type='mmkd_logit.Mine'),
        test_dataloader=theirs,
        test_cfg={},
        test_evaluator=dict(type='Accuracy'),
    )
    exported = plain(cfg, tmp_path)
    left = {'test_dataloader', 'test_cfg', 'test_evaluator'}
    assert set(exported) == {'model', 'default_scope', 'default_hooks', *left}


def test_classes_as_types_become_names(tmp_path: Path) -> None:
    exported = plain(make(val_evaluator=dict(type=Path)), tmp_path)
    assert exported.val_evaluator.type == f'{Path.__module__}.Path'


def test_not_a_distiller() -> None:
    with pytest.raises(ValueError, match='but the model of this config is a ResNet'):
        student_config(Config(dict(model=dict(type='ResNet'))))


def test_a_dumped_config_is_read_without_running_it() -> None:
    cfg = make(
        rate=float('inf'),
        least=-float('inf'),
        keys={'.absolute_pos_embed': dict(decay_mult=0.0), 'a': (1, [None, True])},
        numbered={0: 'a', (1, 2): 'b'},
    )
    assert parse_config(cfg.pretty_text) == cfg.to_dict()


def test_windows_and_augmented_testing_stay(tmp_path: Path) -> None:
    leaf = CONFIGS / 'kd' / 'pspnet-r101_pspnet-r18_ade20k.py'
    cfg = Config.fromfile(leaf)
    cfg.model.student.test_cfg = dict(mode='slide', crop_size=(9, 9), stride=(6, 6))
    exported = plain(cfg, tmp_path)
    assert exported.model.test_cfg == cfg.model.student.test_cfg
    for key in ('tta_model', 'tta_pipeline', 'test_dataloader', 'test_evaluator'):
        assert exported[key] == cfg[key], key
    scales = [each['scale_factor'] for each in exported.tta_pipeline[1].transforms[0]]
    assert scales == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
