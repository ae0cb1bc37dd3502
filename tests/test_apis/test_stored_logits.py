"""Training from stored logits is training with the live teacher, to the bit."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from rich.console import Console

from mmkd_logit.apis import StoreSettings, build_model, build_runner, store_logits
from mmkd_logit.logit_store import LogitStore, StoreWriter
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.distillers.student_config import student_config
from mmkd_logit.models.teachers import stored as stored_module

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# 50 images in batches of 16: the last of an epoch has 2.
IMAGES, VIEWS = 50, 2
LOSSES = dict(
    kd=dict(type='KDLoss'),
    mcld=dict(type='MCLDLoss', queue_size=20),
)


@HOOKS.register_module()
class StopsAt(Hook):
    """Ends a run as Ctrl-C does."""

    priority = 'LOWEST'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == self.iteration:
            raise KeyboardInterrupt


@TRANSFORMS.register_module()
class DrawsItsOwn:
    """Draws from a generator that no seed reaches."""

    random = np.random.default_rng(0)

    def __call__(self, results: dict) -> dict:
        results['img'] = results['img'] + np.uint8(self.random.integers(100))
        return results


def read(base: Path, work_dir: Path, **changes: Any) -> Config:
    cfg = Config.fromfile(base)
    cfg.launcher = 'none'
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict(changes)
    return cfg


def classification(work_dir: Path, teacher: dict, **changes: Any) -> Config:
    cfg = read(CONFIGS / '_base_' / 'recipes' / 'digits.py', work_dir)

    def net(arch: str) -> dict:
        return dict(
            type='ImageClassifier',
            backbone=dict(type='mmkd_logit.CIFARResNet', arch=arch, in_channels=1),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
        )

    cfg.model = dict(
        type='mmkd_logit.LogitDistiller',
        student=net('resnet8'),
        teacher=dict(config='teacher.py', checkpoint='teacher.pth', **teacher),
        losses=copy.deepcopy(LOSSES),
    )
    cfg.train_dataloader.batch_size = 16
    cfg.train_dataloader.dataset.indices = IMAGES
    cfg.val_dataloader.dataset.indices = 40
    cfg.train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.custom_hooks = [dict(type='EMAHook')]
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    cfg.default_hooks.teacher_check = dict(type='mmkd_logit.TeacherCheckHook')
    cfg.default_hooks.export_student = dict(type='mmkd_logit.ExportStudentHook')
    cfg.merge_from_dict(changes)
    return cfg


@pytest.fixture(scope='module', autouse=True)
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a teacher of digits and its weights."""
    cwd = tmp_path_factory.mktemp('stored')
    patch = pytest.MonkeyPatch()
    patch.chdir(cwd)
    cfg = read(CONFIGS / 'baseline' / 'res20_digits.py', cwd)
    (cwd / 'teacher.py').write_text(cfg.pretty_text)
    save_teacher('teacher.pth')
    yield cwd
    patch.undo()


def save_teacher(path: str, seed: int = 7) -> None:
    init_default_scope('mmpretrain')
    torch.manual_seed(seed)
    model = build_model(Config.fromfile('teacher.py'))
    torch.nn.init.normal_(model.head.fc.weight)
    meta = {'dataset_meta': {'classes': tuple('0123456789')}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)


def store(cfg: Config, folder: str, views: int = VIEWS, **settings: Any) -> str:
    """Store, and give what was printed."""
    output = io.StringIO()
    asked = StoreSettings(Path(folder), views, **settings)
    store_logits(cfg, asked, Console(file=output, width=200))
    return output.getvalue()


@pytest.fixture(scope='module')
def cache(cwd: Path) -> str:
    """Stored logits of two views in float32."""
    printed = store(classification(cwd / 'x', {}), 'store')
    row = 4 * 10 + 8
    assert f'2 views of {IMAGES} images, 10 logits in float32' in printed
    size = sum(path.stat().st_size for path in Path('store').iterdir())
    assert f'{VIEWS} x {IMAGES} x {row} bytes and a header, {size:,} bytes' in printed
    return 'store'


def train(cfg: Config, resume: bool = False) -> Runner:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{torch.rand(1).item()}'
    cfg.resume = resume
    init_default_scope(cfg.default_scope)
    runner = build_runner(cfg)
    runner.train()
    return runner


def weights(work_dir: Path, name: str = 'epoch_3.pth') -> dict:
    return torch.load(work_dir / name, map_location='cpu', weights_only=False)


def assert_same_runs(one: Path, other: Path, name: str = 'epoch_3.pth') -> None:
    """Weights, MCLD's queue and averaged weights."""
    first, second = weights(one, name), weights(other, name)
    for part in ('state_dict', 'ema_state_dict'):
        assert first.get(part, {}).keys() == second.get(part, {}).keys()
        for key, value in first.get(part, {}).items():
            assert torch.equal(*map(torch.as_tensor, (value, second[part][key])))


@pytest.fixture(scope='module')
def live(cwd: Path) -> Path:
    """Work dir of a run with the live teacher on two views."""
    cfg = classification(cwd / 'live', dict(views=VIEWS))
    runner = train(cfg)
    assert runner.model.teacher.module is not None
    return cwd / 'live'


@pytest.fixture(scope='module')
def stored(cwd: Path, cache: str) -> tuple[Path, Runner]:
    """The same from the store, in worker processes, without the teacher's files."""
    hidden = [Path(name).rename(f'hidden_{name}') for name in ('teacher.pth',)]
    try:
        cfg = classification(
            cwd / 'stored',
            dict(cache=cache),
            **{
                'train_dataloader.num_workers': 2,
                'train_dataloader.persistent_workers': True,
            },
        )
        runner = train(cfg)
    finally:
        for path in hidden:
            path.rename(path.name.removeprefix('hidden_'))
    return cwd / 'stored', runner


def test_store_equals_live(live: Path, stored: tuple[Path, Runner]) -> None:
    """With MCLD's queue, EMA, accumulation and a small last batch."""
    work_dir, runner = stored
    assert runner.model.teacher.module is None
    assert_same_runs(work_dir, live)
    queue = 'losses.mcld.queue.image_index'
    assert len(weights(live)['state_dict'][queue].unique()) == 20


def test_views_are_other_images_than_plain_training_s(cwd: Path, live: Path) -> None:
    train(classification(cwd / 'plain', {}, **{'train_cfg.max_epochs': 1}))
    key = 'student.head.fc.weight'
    plain, views = (
        weights(path, 'epoch_1.pth')['state_dict'][key]
        for path in (cwd / 'plain', live)
    )
    assert not torch.equal(plain, views)


def test_the_teacher_is_judged_by_its_stored_metrics(
    live: Path, stored: tuple[Path, Runner], cache: str, cwd: Path
) -> None:
    expected = weights(live)['message_hub']['runtime_info']['teacher']
    found = weights(stored[0])['message_hub']['runtime_info']['teacher']
    assert found == pytest.approx(expected)
    check = {'metric': 'accuracy/top1', 'minimum': 100.0}
    cfg = classification(cwd / 'y', dict(cache=cache))
    cfg.default_hooks.teacher_check.update(check)
    with pytest.raises(ValueError, match='teacher store with the weights teacher.pth'):
        train(cfg)


def test_the_student_s_config_has_no_views(stored: tuple[Path, Runner]) -> None:
    text = (stored[0] / 'student.py').read_text()
    assert 'View' not in text and 'cache' not in text
    cfg = classification(stored[0], {}, **{'train_dataloader.num_workers': 2})
    assert len(student_config(cfg)) > 100


def test_a_resumed_run(cwd: Path, live: Path, cache: str) -> None:
    cfg = classification(cwd / 'parts', dict(cache=cache))
    # Killed in the second epoch.
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='StopsAt', iteration=6)]
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    assert not (cwd / 'parts' / 'epoch_2.pth').exists()
    cfg.custom_hooks = cfg.custom_hooks[:1]
    runner = train(cfg, resume=True)
    assert runner.iter == 12
    assert_same_runs(cwd / 'parts', live)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loop_over_iterations(workers: int, cwd: Path, cache: str) -> None:
    """Resumed in the middle of a pass over the dataset."""
    by_iteration = {
        'train_cfg': dict(
            _delete_=True,
            type='IterBasedTrainLoop',
            max_iters=10,
            val_interval=20,
        ),
        'train_dataloader.sampler.type': 'InfiniteSampler',
        'train_dataloader.num_workers': workers,
        'default_hooks.checkpoint': dict(
            type='CheckpointHook', by_epoch=False, interval=4
        ),
        'log_processor': dict(by_epoch=False),
        'param_scheduler': None,
        'default_hooks.epoch_seed': None,
    }

    def make(name: str, teacher: dict) -> Config:
        cfg = classification(cwd / f'{name}{workers}', teacher)
        cfg.train_cfg = {}
        cfg.merge_from_dict(by_iteration)
        cfg.train_cfg.pop('_delete_', None)
        return cfg

    live = make('iter_live', dict(views=VIEWS))
    train(live)
    cfg = make('iter_parts', dict(cache=cache))
    stop = dict(type='StopsAt', iteration=7)
    cfg.custom_hooks = [*cfg.custom_hooks, stop]
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    cfg.custom_hooks = cfg.custom_hooks[:1]
    train(cfg, resume=True)
    assert_same_runs(Path(cfg.work_dir), Path(live.work_dir), 'iter_10.pth')


def test_float16(cwd: Path, live: Path, cache: str) -> None:
    store(classification(cwd / 'x', {}), 'half', dtype='float16')
    places = [(view, index) for view in range(VIEWS) for index in range(IMAGES)]
    half, full = (LogitStore(name).read(places) for name in ('half', cache))
    torch.testing.assert_close(half.float(), full, rtol=2**-11, atol=1e-7)
    train(classification(cwd / 'half_run', dict(cache='half')))
    key = 'student.backbone.conv1.weight'
    found, expected = (weights(p)['state_dict'][key] for p in (cwd / 'half_run', live))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_an_interrupted_store_goes_on(
    cwd: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = StoreWriter.write, []

    def stop(self: StoreWriter, places: list, *rest: Any) -> None:
        calls.append(len(places))
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(self, places, *rest)

    monkeypatch.setattr(StoreWriter, 'write', stop)
    with pytest.raises(KeyboardInterrupt):
        store(classification(cwd / 'x', {}), 'parts_store')
    assert not Path('parts_store').exists()
    calls += [0, 0, 0]
    with pytest.raises(
        ValueError, match='begun as another store: views is 3 and was 2'
    ):
        store(classification(cwd / 'x', {}), 'parts_store', views=3)
    calls.clear()
    calls += [0, 0, 0]
    store(classification(cwd / 'x', {}), 'parts_store')
    assert sum(calls) == VIEWS * IMAGES - 32
    for path in Path(cache).iterdir():
        assert (Path('parts_store') / path.name).read_bytes() == path.read_bytes()


def test_a_store_that_is_there(cwd: Path, cache: str) -> None:
    assert 'store already exists' in store(classification(cwd / 'x', {}), cache)
    with pytest.raises(ValueError, match='views is 3 and was 2 when they were stored'):
        store(classification(cwd / 'x', {}), cache, views=3)


def refuse(cwd: Path, cache: str, message: str, changes: dict) -> None:
    cfg = classification(cwd / 'refused', dict(cache=cache), **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(cfg)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'train_dataloader.dataset.pipeline': [dict(type='PackInputs')]},
            r'dataset\.pipeline\[0\]\.type is PackInputs and was RandomCrop',
        ),
        ({'train_dataloader.dataset.split': 'fit'}, 'split is fit and was train'),
        ({'train_dataloader.dataset.indices': 40}, 'indices is 40 and was 50'),
        (
            {'train_dataloader.dataset.classes': list('1023456789')},
            r'classes\[0\] is 1 and was not set',
        ),
        ({'model.teacher.view_seed': 5}, 'seed is 5 and was 0'),
        ({'model.teacher.views': 5}, 'views is 5 and was 2'),
        (
            {'data_preprocessor.std': [90.0]},
            r'normalization.std\[0\] is 90.0 and was 96',
        ),
        (
            {'model.teacher.config': 'other.py'},
            'arch is resnet32 and was resnet20',
        ),
        (
            {'model.teacher.checkpoint': 'other.pth'},
            r'checkpoint\.source is oth',
        ),
        (
            {'model.teacher.checkpoint': None},
            'teacher.checkpoint is None and was',
        ),
        ({'model.teacher.cache': 'none'}, "'none' does not exist"),
        (
            {'custom_hooks': [dict(type='SwitchRecipeHook', schedule=[])]},
            'SwitchRecipeHook changes it',
        ),
        ({'default_hooks.sampler_seed': None}, 'default_hooks.sampler_seed sets it'),
        (
            {'model.student.train_cfg': dict(augments=dict(type='Mixup', alpha=0.2))},
            r'batch augments, such as mixup, which change them later',
        ),
    ],
)
def test_another_run(changes: dict, message: str, cwd: Path, cache: str) -> None:
    text = Path('teacher.py').read_text().replace('resnet20', 'resnet32')
    Path('other.py').write_text(text)
    if not Path('other.pth').exists():
        save_teacher('other.pth', seed=8)
    refuse(cwd, cache, message, changes)


def test_a_changed_image_is_noticed(
    cwd: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmkd_logit.datasets import Digits

    load = Digits.load_data_list

    def changed(self: Digits) -> list[dict]:
        found = load(self)
        found[3]['img'] = found[3]['img'] + 1
        return found

    monkeypatch.setattr(Digits, 'load_data_list', changed)
    message = 'Image 3 in view 0 is not the one whose logits store holds'
    refuse(cwd, cache, message, {})
    cfg = classification(cwd / 'unchecked', dict(cache=cache, check_images=False))
    cfg.train_cfg.max_epochs = 1
    train(cfg)


def test_the_same_file_under_another_name(cwd: Path, cache: str) -> None:
    Path('copy.pth').write_bytes(Path('teacher.pth').read_bytes())
    cfg = classification(cwd / 'copy', dict(cache=cache))
    cfg.model.teacher.checkpoint = 'copy.pth'
    cfg.train_cfg.max_epochs = 1
    train(cfg)


def test_a_checkpoint_that_is_not_here(
    cwd: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of the store if it has the same name there, else a mistake."""
    said: list[str] = []
    monkeypatch.setattr(stored_module, 'print_log', lambda text, **_: said.append(text))

    def load(checkpoint: str) -> None:
        cfg = classification(cwd / 'x', dict(cache=cache))
        cfg.model.teacher.checkpoint = checkpoint
        build_model(cfg).load_teacher()

    for missing in ('teecher.pth', 'gone/teacher.pth', 'https://x.org/teacher.pth'):
        message = f'teacher.checkpoint is {missing}, which is not a file.* remove'
        with pytest.raises(ValueError, match=message):
            load(missing)
    moved = Path('teacher.pth').rename('moved.pth')
    try:
        load('moved.pth')
        assert len(said) == 1
        load('teacher.pth')
        assert 'cannot check that teacher.pth is teacher.pth' in said[1]
        Path('other.pth').write_bytes(b'other')
        with pytest.raises(ValueError, match='checkpoint.source is other.pth and was'):
            load('other.pth')
    finally:
        moved.rename('teacher.pth')


def test_a_cache_alone(cwd: Path, cache: str, live: Path) -> None:
    cfg = classification(cwd / 'alone', {})
    cfg.model.teacher = dict(cache=cache)
    cfg.train_cfg.max_epochs = 1
    train(cfg)
    assert_same_runs(cwd / 'alone', live, 'epoch_1.pth')


def test_top_k(cwd: Path) -> None:
    store(classification(cwd / 'x', {}), 'top', top_k=8, tau=4.0)
    cfg = classification(cwd / 'top_run', dict(cache='top'))
    with pytest.raises(ValueError, match=r'MCLDLoss needs every logit of the teacher'):
        train(cfg)
    cfg.model.losses = dict(kd=dict(type='KDLoss', transforms=('standardize',)))
    with pytest.raises(ValueError, match='KDLoss with transforms needs every logit'):
        train(cfg)
    cfg.model.losses = dict(kd=dict(type='KDLoss', tau=2.0))
    with pytest.raises(ValueError, match=r'kd has tau=2.0, but .* at tau=4.0'):
        train(cfg)
    cfg.model.losses = dict(kd=dict(type='KDLoss', tau=4.0))
    cfg.model.kendall_tau_rows = 4
    with pytest.raises(ValueError, match='kendall_tau_rows needs every logit'):
        train(cfg)
    cfg.model.kendall_tau_rows = 0
    runner = train(cfg)
    losses = runner.message_hub.get_scalar('train/loss_kd').data[0]
    assert len(losses) == 12 and np.isfinite(losses).all() and min(losses) > 0
    agreement = runner.message_hub.get_scalar('train/teacher_agreement').data[0]
    assert max(agreement) <= 1


def test_a_pipeline_with_a_generator_of_its_own(cwd: Path) -> None:
    cfg = classification(cwd / 'x', {})
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [dict(type='DrawsItsOwn'), *pipeline]
    with pytest.raises(ValueError, match='makes a different image the second time'):
        store(cfg, 'never')
    assert not Path('never.part').exists()


def test_a_config_without_a_teacher(cwd: Path) -> None:
    cfg = read(CONFIGS / 'baseline' / 'res8_digits.py', cwd)
    with pytest.raises(ValueError, match='for a config with a teacher, but the model'):
        store(cfg, 'never')


def test_mixup_is_refused_when_logits_are_stored(cwd: Path) -> None:
    cfg = classification(cwd / 'x', {})
    cfg.model.losses.pop('mcld')
    cfg.model.student.train_cfg = dict(augments=dict(type='Mixup', alpha=0.2))
    with pytest.raises(ValueError, match='logits of such images cannot be stored'):
        store(cfg, 'never')


def test_a_runner_that_shows_no_views(cwd: Path, cache: str) -> None:
    for teacher in (dict(cache=cache), dict(views=2)):
        cfg = classification(cwd / f'z{len(teacher)}', teacher)
        cfg.experiment_name = str(torch.rand(1).item())
        init_default_scope('mmpretrain')
        with pytest.raises(ValueError, match='do not say which view'):
            Runner.from_cfg(cfg).train()


@pytest.mark.parametrize(
    ('teacher', 'error', 'message'),
    [
        (dict(views=0), ValueError, r'teacher\.views must be an integer of 1 or more'),
        (dict(view_seed=1), ValueError, 'need teacher.cache, .* or teacher.views'),
        (dict(caches='x'), TypeError, "unknown key 'caches'"),
        (
            dict(cache='x', views=2, checkpoints='y'),
            TypeError,
            "unknown key 'checkpoints'",
        ),
    ],
)
def test_settings(teacher: dict, error: type, message: str, cwd: Path) -> None:
    cfg = classification(cwd / 'x', teacher)
    with pytest.raises(error, match=message):
        build_model(cfg)


def test_testing_needs_no_store(cwd: Path) -> None:
    init_default_scope('mmpretrain')
    model = build_model(classification(cwd / 'x', dict(cache='none')))
    assert isinstance(model, LogitDistiller)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def save_timm(folder: str, seed: int) -> dict:
    """A teacher of timm, of more classes in another order, with random weights."""
    timm = pytest.importorskip('timm', reason='timm is not installed')
    torch.manual_seed(seed)
    model = timm.create_model('test_resnet', num_classes=12, in_chans=1)
    for value in model.parameters():
        if value.ndim > 1:  # other logits for other images, however deep the network
            torch.nn.init.normal_(value, std=1.5 * value[0].numel() ** -0.5)
    config = dict(label_names=['none', *'9876543210', 'all'], num_classes=12)
    timm.models.save_for_hf(
        model, folder, model_config=config, model_args=dict(in_chans=1)
    )
    images = dict(mean=[90.0], std=[50.0])
    return dict(timm=folder, preprocess=images, resize=16, class_map='names')


def test_a_teacher_of_another_library(cwd: Path) -> None:
    """Its own preprocessing and classes, and validation in larger batches."""

    def make(name: str, teacher: dict) -> Config:
        cfg = classification(cwd / name, {})
        cfg.model.teacher = teacher
        return cfg

    teacher = save_timm('timm_teacher', seed=1)
    runner = train(make('timm_live', dict(**teacher, views=VIEWS)))
    assert runner.model.teacher.module.num_classes == 12
    store(make('x', teacher), 'timm_store')
    header = json.loads(Path('timm_store/header.json').read_text())
    assert header['record']['shape'] == [10]
    logits = LogitStore('timm_store').read([(0, index) for index in range(IMAGES)])
    assert isinstance(logits, torch.Tensor) and logits.std(0).min() > 0.1
    runs = cwd / 'timm_stored', cwd / 'timm_live'
    train(make('timm_stored', dict(**teacher, cache='timm_store')))
    assert_same_runs(*runs)
    found, expected = (
        weights(run)['message_hub']['runtime_info']['teacher'] for run in runs
    )
    assert found == expected == header['metrics']
    Path('timm_teacher').rename('timm_moved')
    teacher |= dict(timm='timm_moved', cache='timm_store')
    build_model(make('x', teacher)).load_teacher()
    save_timm('timm_other', seed=2)
    for changes, message in (
        (dict(timm='timm_other'), r'timm\.source is timm_other and was'),
        (dict(timm='resnet18'), r'timm\.source is resnet18 and was'),
        (dict(checkpoint=None), r'teacher\.checkpoint is None and was pretrained'),
        (dict(class_map=None), r'class_map is None and was names'),
        (dict(preprocess='student'), r'preprocess is student and was not set'),
        (dict(resize=8), r'resize\[0\] is 8 and was 16'),
    ):
        with pytest.raises(ValueError, match=message):
            build_model(make('x', teacher | changes)).load_teacher()


def test_several_teachers_are_not_stored(cwd: Path) -> None:
    cfg = classification(cwd / 'x', {})
    cfg.model.teacher = [cfg.model.teacher, cfg.model.teacher]
    with pytest.raises(ValueError, match='of a single teacher .*has a list of 2'):
        store(cfg, 'never')


def test_a_student_of_other_classes(cwd: Path, cache: str) -> None:
    cfg = classification(cwd / 'x', dict(cache=cache))
    cfg.model.student.head.num_classes = 9
    with pytest.raises(ValueError, match='store have 10 classes, but the student ha'):
        build_model(cfg).load_teacher()


@pytest.fixture(scope='module')
def scenes(cwd: Path) -> Path:
    """A few random images in the layout of Cityscapes."""
    random = np.random.default_rng(0)
    for number in range(6):
        for kind, name, shape in (
            ('leftImg8bit', 'leftImg8bit.png', (40, 56, 3)),
            ('gtFine', 'gtFine_labelTrainIds.png', (40, 56)),
        ):
            folder = cwd / 'scenes' / kind / 'train' / 'city'
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(19 if kind == 'gtFine' else 256, size=shape)
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / f'city_{number:06}_000019_{name}')
    return cwd / 'scenes'


def segmentation(work_dir: Path, scenes: Path, teacher: dict) -> Config:
    name = CONFIGS / 'kd' / 'fcn-r18w16_fcn-r18w8_scenes.py'
    cfg = read(name, work_dir)
    cfg.model.teacher.checkpoint = 'seg.pth'
    cfg.model.teacher.update(teacher)
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(scenes)
    dataset.pipeline.insert(2, dict(type='RandomCrop', crop_size=(32, 48)))
    cfg.model.student.data_preprocessor.size = (32, 48)
    cfg.train_dataloader.batch_size = 4
    cfg.train_cfg.update(max_iters=4, val_interval=10)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg.pop(key)
    cfg.default_hooks.checkpoint.interval = 4
    cfg.default_hooks.teacher_check = None
    return cfg


def test_segmentation(cwd: Path, scenes: Path) -> None:
    """Maps at the teacher's own resolution, of crops in changed colours."""
    cfg = segmentation(cwd / 'seg_live', scenes, dict(views=2))
    init_default_scope('mmseg')
    torch.manual_seed(3)
    teacher = build_model(Config.fromfile(cfg.model.teacher.config))
    torch.save(teacher.state_dict(), 'seg.pth')
    train(cfg)
    store(segmentation(cwd / 'x', scenes, {}), 'seg_store')
    header = json.loads(Path('seg_store/header.json').read_text())
    assert header['record']['shape'] == [19, 8, 12]
    assert header['traits'] == {'align_corners': False}
    assert header['metrics'] is None
    stored = segmentation(cwd / 'seg_stored', scenes, dict(cache='seg_store'))
    stored.train_dataloader.num_workers = 1
    train(stored)
    assert_same_runs(cwd / 'seg_stored', cwd / 'seg_live', 'iter_4.pth')


def test_images_of_several_sizes(cwd: Path, scenes: Path) -> None:
    cfg = segmentation(cwd / 'x', scenes, {})
    cfg.model.student.data_preprocessor.update(size=None, size_divisor=8)
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[2] = dict(
        type='RandomResize', scale=(56, 40), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    with pytest.raises(ValueError, match='Stored logits must have one size'):
        store(cfg, 'sizes', views=3)
