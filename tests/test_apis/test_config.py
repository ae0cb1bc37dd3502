from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmkd_logit.apis import build_runner, check_data


def config(scope: str, **dataset: object) -> Config:
    return Config(
        dict(
            default_scope=scope, train_dataloader=dict(dataset=dataset), launcher='none'
        )
    )


def test_missing_data_is_named(tmp_path: Path) -> None:
    prefix = dict(img_path='images', seg_map_path=None)
    inner = dict(type='CityscapesDataset', data_root=str(tmp_path), data_prefix=prefix)
    cfg = config('mmseg', type='RepeatDataset', dataset=inner)
    where = r"images' of train_dataloader.dataset.dataset does not exist"
    with pytest.raises(FileNotFoundError, match=where):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    (tmp_path / 'images').mkdir()
    check_data(cfg, ['train_dataloader', 'val_dataloader'])


def test_data_that_downloads_itself_is_not_missing() -> None:
    cifar = dict(type='CIFAR10', data_root='nowhere')
    check_data(config('mmpretrain', **cifar), ['train_dataloader'])
    with pytest.raises(FileNotFoundError, match='nowhere'):
        check_data(config('mmpretrain', **cifar, download=False), ['train_dataloader'])
    with pytest.raises(FileNotFoundError, match='nowhere'):
        check_data(
            config('mmpretrain', type='ImageNet', data_root='nowhere'),
            ['train_dataloader'],
        )


def test_layer_decay_of_mmseg_is_refused() -> None:
    cfg = config('mmseg')
    cfg.model = dict(type='mmkd_logit.LogitDistiller')
    cfg.optim_wrapper = dict(constructor='LayerDecayOptimizerConstructor')
    with pytest.raises(ValueError, match="begin with 'student.backbone'"):
        build_runner(cfg)


def test_default_hooks_of_ours_can_be_dropped(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / 'configs' / 'dhkd' / 'res20_res8_digits.py'
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path),
            'launcher': 'none',
            'default_hooks.teacher_check': None,
            'default_hooks.param_scheduler': None,
        }
    )
    kinds = {type(hook).__name__ for hook in build_runner(cfg).hooks}
    assert {'ExportStudentHook', 'CheckpointHook'} <= kinds
    assert not {'TeacherCheckHook', 'ParamSchedulerHook'} & kinds
