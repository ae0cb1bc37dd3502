from __future__ import annotations

import argparse
import ast
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmkd_logit.apis import (
    build_runner,
    check_data,
    check_resume,
    class_names_in,
    config_name,
    read_config,
)
from mmkd_logit.apis.config import check_constructor, check_parts
from mmkd_logit.arguments import add_common_arguments


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


def test_where_missing_data_come_from() -> None:
    cfg = config('mmpretrain', type='mmkd_logit.STL10', data_root='nowhere')
    with pytest.raises(FileNotFoundError, match=r'Put the data \(http.*stl10_binary'):
        check_data(cfg, ['train_dataloader'])


def test_class_names_of_a_dataset_s_type() -> None:
    def names(count: int, **dataset: object) -> tuple[str, ...] | None:
        cfg = config('mmpretrain', **dataset)
        cfg.model = dict(head=dict(num_classes=count))
        return class_names_in(cfg)

    cifar = dict(type='CIFAR100', data_root='nowhere')
    found = names(100, **cifar)
    assert found is not None and found[:2] == ('apple', 'aquarium_fish')
    assert names(100, type='RepeatDataset', times=2, dataset=cifar) == found
    assert names(10, type='mmkd_logit.Digits') == tuple('0123456789')
    # The config has other classes, or the type knows none.
    assert names(20, **cifar) is None
    assert names(100, **cifar, metainfo=dict(classes=found[::-1])) is None
    assert names(100, type='CustomDataset') is None
    assert class_names_in(Config(dict(model=dict(type='x')))) is None


def read(path: Path | str, *options: str) -> Config:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    more = ['--cfg-options', *options] if options else []
    return read_config(parser.parse_args([str(path), *more]))


DHKD = Path(__file__).parents[2] / 'configs' / 'dhkd' / 'res20_res8_digits.py'


@pytest.mark.parametrize(
    ('option', 'path'),
    [
        ('teacher.checkpoint=x.pth', 'model.teacher'),
        ('losses.dhkd.loss_weight=0.5', 'model.losses'),
        ('method.losses.dhkd.loss_weight=0.5', 'model'),
        ('task_loss_weight=0.5', 'model.task_loss_weight'),
    ],
)
def test_settings_that_nothing_reads_are_refused(option: str, path: str) -> None:
    with pytest.raises(ValueError, match=f'has no effect. Set {path} instead'):
        read(DHKD, option)


def test_a_dead_setting_of_a_child_config_is_said(
    tmp_path: Path, warned: list[str]
) -> None:
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = {str(DHKD)!r}\nteacher = dict(checkpoint='x')\n")
    read(path)
    (said,) = warned
    assert "'teacher' at the top level" in said and 'set model.teacher' in said
    # Parts that are defined first, and then used.
    path.write_text(
        "teacher = dict(model=dict(type='X'), checkpoint='x')\n"
        "model = dict(type='mmkd_logit.LogitDistiller', teacher=teacher)\n"
    )
    read(path)
    assert len(warned) == 1


def test_misspelt_names_at_the_top_level(tmp_path: Path, warned: list[str]) -> None:
    message = "no 'optim_wraper', and nothing .* Did you mean 'optim_wrapper'"
    with pytest.raises(ValueError, match=message):
        read(DHKD, 'optim_wraper.optimizer.lr=0.5')
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {str(DHKD)!r}\ncustom_hook = []\nsize = 8\n')
    assert read(path, 'epochs=3').epochs == 3
    (said,) = warned
    assert "'custom_hook' at the top level" in said
    assert "Did you mean 'custom_hooks'?" in said


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'default_hooks.teacher_check.minimal=65',
            r"default_hooks.teacher_check has the unknown key 'minimal'. "
            "Did you mean 'minimum'",
        ),
        (
            'custom_hooks=[{"type":"mmkd_logit.LossWeightHook","warmpu":1}]',
            r"custom_hooks\[0\] has the unknown key 'warmpu'. Did you mean",
        ),
    ],
)
def test_misspelt_keys_of_hooks(option: str, message: str) -> None:
    cfg = read(DHKD)
    key, _, value = option.partition('=')
    cfg.merge_from_dict({key: ast.literal_eval(value)})
    with pytest.raises(TypeError, match=message):
        check_parts(cfg)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'train_dataloader=3',
            'train_dataloader must be a dict or None',
        ),
        (
            'train_dataloader.num_workers=x',
            'num_workers must be an integer',
        ),
        ('train_dataloader.sampler=x', 'train_dataloader.sampler must be a dict, but'),
        ('train_dataloader.dataset.pipeline=x', 'dataset.pipeline must be a list, but'),
        ('optim_wrapper=x', 'optim_wrapper must be a dict or None'),
        ('optim_wrapper.optimizer=3', 'optim_wrapper.optimizer must be a dict, but'),
        ('param_scheduler.gamma=x', 'param_scheduler.gamma must be a finite number'),
        (
            'train_cfg.val_interval=[1]',
            'val_interval must be an integer',
        ),
        (
            'default_hooks.logger.interval=x',
            'logger.interval must be an integer',
        ),
        ('model.student=x', "model.student must be a dict, but got 'x'"),
        (
            'model.kendall_tau_rows=0.5',
            'kendall_tau_rows must be an integer',
        ),
        (
            'data_preprocessor.mean=[x]',
            r'mean\[0\] must be a finite number',
        ),
        ('randomness.seed=x', 'randomness.seed must be an integer or None, but got'),
        ('load_from=3', 'load_from must be a string or None, but got 3'),
        ('resume=x', "resume must be True or False, but got 'x'"),
        ('log_level=loud', "log_level must be one such as 'INFO', but got 'loud'"),
        ('optim_wrapper.optimizer.lr=nan', 'optim_wrapper.optimizer.lr is NaN'),
        ('runner_type=x', "runner_type is 'x', which is not registered"),
        (
            'train_cfg.max_epochs.a=1',
            'max_epochs.a cannot be overridden',
        ),
    ],
)
def test_values_of_another_type(option: str, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        read(DHKD, option)


def test_hooks_of_the_configs_are_taken() -> None:
    for path in (DHKD, *sorted((DHKD.parents[1] / 'baseline').glob('*.py'))):
        check_parts(read(path))


def test_options_of_the_model_are_taken() -> None:
    cfg = read(DHKD, 'model.losses.dhkd.loss_weight=0.5', 'model.teacher.checkpoint=x')
    assert cfg.model.losses.dhkd.loss_weight == 0.5
    assert cfg.model.teacher.checkpoint == 'x'
    assert 'method' not in cfg


def test_a_leaf_of_an_older_release_is_told_what_to_write(tmp_path: Path) -> None:
    pairs = DHKD.parents[1] / '_base_' / 'pairs' / 'res20_res8_digits.py'
    path = tmp_path / 'mine.py'
    path.write_text(
        f'_base_ = [{str(pairs)!r}]\n'
        "model = dict(_delete_=True, type='mmkd_logit.LogitDistiller',\n"
        '             student=_base_.model, teacher=_base_.teacher)\n'
    )
    with pytest.raises(
        ValueError, match=r'mine.py takes _base_.teacher.*_base_.method'
    ):
        read(path)


def test_configs_of_ours_are_inherited_by_name(tmp_path: Path) -> None:
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = 'mmkd_logit::_base_/methods/dhkd.py'\nmodel = dict(a=1)\n"
    )
    assert Config.fromfile(path).method.losses.dhkd.head == 'aux'
    path.write_text("_base_ = 'mmkd_logit::methods/dhkd.py'\nmodel = dict(a=1)\n")
    with pytest.raises(FileNotFoundError, match=r"no config 'methods/dhkd.py'.*named"):
        read(path)


def test_the_work_dir_is_named_by_folder_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'runs').mkdir()
    for folder in ('', 'runs'):
        (tmp_path / folder / 'x.py').write_text("model = dict(type='ImageClassifier')")
    monkeypatch.chdir(tmp_path / 'runs')
    assert Path(read('../x.py').work_dir) == Path('work_dirs') / tmp_path.name / 'x'
    assert Path(read('x.py').work_dir) == Path('work_dirs') / 'runs' / 'x'
    assert Path(read(DHKD).work_dir) == Path('work_dirs/dhkd/res20_res8_digits')


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        ('/repo/configs/kd/cifar100/res56_res20.py', 'kd/cifar100/res56_res20'),
        ('/repo/configs/kd/res20_res8_digits.py', 'kd/res20_res8_digits'),
        ('/configs/repo/configs/kd/a.b.py', 'kd/a.b'),
        ('/repo/configs/mine.py', 'configs/mine'),
        ('/repo/experiments/kd/mine.py', 'kd/mine'),
        ('/repo/configs.old/kd/mine.py', 'kd/mine'),
        ('/mine.py', 'mine'),
    ],
)
def test_the_name_of_a_config(path: str, name: str) -> None:
    assert config_name(path) == Path(name)


def test_the_work_dir_of_a_config_in_a_subfolder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'configs' / 'kd' / 'cifar100' / 'x.py'
    path.parent.mkdir(parents=True)
    path.write_text("model = dict(type='ImageClassifier')")
    for folder in (tmp_path, path.parent):
        monkeypatch.chdir(folder)
        work_dir = read(path.relative_to(folder)).work_dir
        assert Path(work_dir) == Path('work_dirs/kd/cifar100/x')


def test_a_loader_without_workers_and_a_config_for_testing_only(tmp_path: Path) -> None:
    path = tmp_path / 'x.py'
    path.write_text(
        "default_scope = 'mmpretrain'\nmodel = dict(type='ImageClassifier')\n"
        'optim_wrapper = None\ntrain_dataloader = None\n'
        "test_dataloader = dict(dataset=dict(type='ImageNet'), pin_memory=True)\n"
    )
    cfg = read(path)
    assert cfg.test_dataloader.persistent_workers is False
    assert cfg.test_dataloader.collate_fn == dict(type='default_collate')
    assert cfg.test_dataloader.pin_memory is True
    check_constructor(cfg)


PLAIN = dict(type='ImageClassifier')


def test_what_a_run_cannot_be_resumed_from(tmp_path: Path) -> None:
    path = tmp_path / 'student.pth'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'meta': {'epoch': 1}}, path)
    with pytest.raises(
        ValueError, match=r'student.pth holds no message_hub.*load_from'
    ):
        check_resume(str(path), PLAIN)
    torch.save({'w': torch.ones(1)}, path)
    with pytest.raises(ValueError, match='holds no meta and no message_hub'):
        check_resume(str(path), PLAIN)
    torch.save({'state_dict': {}, 'meta': {}, 'message_hub': {}}, path)
    check_resume(str(path), PLAIN)


WITH_TEACHER = dict(type='mmkd_logit.LogitDistiller')
WITH_HEAD = dict(WITH_TEACHER, aux_head=dict(type='LinearLogitHead'))


@pytest.mark.parametrize(
    ('weights', 'model', 'message'),
    [
        (['student.w', 'aux_head.w'], WITH_TEACHER, 'with an auxiliary head.*has none'),
        (['student.w'], WITH_HEAD, 'without an auxiliary head.*has one'),
        (['w'], WITH_HEAD, 'without an auxiliary head'),
        (['student.w'], PLAIN, 'with a teacher.*has none'),
        (['student.w', 'aux_head.w'], WITH_HEAD, None),
        (['student.w'], WITH_TEACHER, None),
        (['w'], WITH_TEACHER, None),
        (['w'], PLAIN, None),
    ],
)
def test_resume_from_the_run_of_another_method(
    tmp_path: Path, weights: list[str], model: dict, message: str | None
) -> None:
    path = tmp_path / 'epoch_1.pth'
    state = {name: torch.ones(1) for name in weights}
    torch.save({'state_dict': state, 'meta': {}, 'message_hub': {}}, path)
    if message is None:
        check_resume(str(path), model)
    else:
        with pytest.raises(ValueError, match=f'{message}.*load_from=.*epoch_1'):
            check_resume(str(path), model)


def test_layer_decay_of_mmseg_is_refused() -> None:
    cfg = config('mmseg')
    cfg.model = dict(type='mmkd_logit.LogitDistiller')
    cfg.optim_wrapper = dict(constructor='LayerDecayOptimizerConstructor')
    with pytest.raises(ValueError, match="begin with 'student.backbone'"):
        build_runner(cfg)


def test_default_hooks_of_ours_can_be_dropped(tmp_path: Path) -> None:
    cfg = Config.fromfile(DHKD)
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
