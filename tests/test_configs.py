"""Every config builds its model; every metafile tells where its numbers are from."""

from __future__ import annotations

import ast
import copy
import re
import shutil
from functools import cache
from pathlib import Path

import mmpretrain
import mmseg
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torchvision.models import get_model_weights

from mmkd_logit.apis import config_name
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.settings import build_part
from mmkd_logit.registry import HOOKS, MODELS

ROOT = Path(__file__).parents[1]
# Datasets whose configs have a folder of their own, in that of the method.
FOLDERS = ('cifar100',)
# Parameters of every network that is trained here, by the name of its baseline.
PARAMETERS = {
    'res8_digits': 77_754,
    'res20_digits': 272_186,
    'res8w8_digitpairs': 22_780,
    'convmixer_digitpairs': 9_540,
    'res20_digitpairs': 278_036,
    'res18_in1k': 11_689_512,
    'mobilenetv1_in1k': 4_231_976,
    'fcn-r18w8_scenes': 185_663,
    'fcn-r18w16_scenes': 739_275,
    'pspnet-r18_cityscapes': 12_790_086,
    'deeplabv3-r18_cityscapes': 13_986_374,
    'segformer-b0_cityscapes': 3_720_051,
    'pspnet-r18_ade20k': 12_815_500,
    'deeplabv3plus-r18_ade20k': 12_494_376,
    'segformer-b0_ade20k': 3_753_718,
    'pspnet-r18_voc12aug': 12_790_474,
    'deeplabv3plus-r18_voc12aug': 12_469_350,
    'pspnet-r18_context59': 12_797_846,
    'pspnet-r18_coco-stuff164k': 12_819_574,
    'stdc1_cityscapes': 8_573_022,
    'cifar100/res20': 278_324,
    'cifar100/res32': 472_756,
    'cifar100/res56': 861_620,
    'cifar100/res110': 1_736_564,
    'cifar100/res8x4': 1_233_540,
    'cifar100/res32x4': 7_433_860,
    'cifar100/res50': 23_705_252,
    'cifar100/wrn16-2': 703_284,
    'cifar100/wrn40-1': 569_780,
    'cifar100/wrn40-2': 2_255_156,
    'cifar100/vgg8': 3_965_028,
    'cifar100/vgg13': 9_462_180,
    'cifar100/mv2': 812_836,
    'cifar100/shn-v1': 949_258,
    'cifar100/shn-v2': 1_355_528,
}
# A leaf of which the last part of the name is one of these is a variant: what it is
# made of in place of its pair and the method of its folder.
VARIANTS = {
    'ga': ['dhkd/res20_res8_digits'],
    'single-head': ['_base_/pairs/{pair}', '_base_/methods/binary-kl-norm'],
}
# The method base of a folder, where it is called otherwise.
METHODS = {'kd_dot': 'kd'}
# What leaves set beside their model, by patterns of their folders and names. Anything
# else must be their baseline's.
OWN_SETTINGS = {
    r'dhkd(_kendall-tau)?/.*_in1k': {'custom_hooks'},
    r'dhkd/(res20_res8_digits_ga|cifar100/.*)|kd_dot/.*': {'optim_wrapper'},
    r'(dkd(_.+)?|rld|kd_luminet)/(cifar100/.*|.*_digitpairs)': {'custom_hooks'},
    r'(gkl|ctkd(_.+)?)/.*': {'custom_hooks'},
    # Of its authors, who take it for all but the light students.
    r'mlkd(_.+)?/(cifar100/.*(?<!_mv2)(?<!_shn-v[12])|tv-.*)': {'optim_wrapper'},
    r'(dist/.*|nkd/res50_mobilenetv1)_in1k': {'optim_wrapper'},
}


def name_of(path: str) -> str:
    """Folders and name of a config, such as dhkd/cifar100/res56_res20."""
    return str(Path(path).relative_to('configs').with_suffix(''))


def parts_of(path: str) -> tuple[str, str, str, str, str]:
    """Method, teacher, student, dataset and variant of a leaf, by its path."""
    method, *folder, name = name_of(path).split('/')
    teacher, student, *rest = name.split('_')
    dataset, *variant = [*folder, *rest]
    return method, teacher, student, dataset, '_'.join(variant)


def on(dataset: str, name: str) -> str:
    """What the config of a pair or a network on a dataset is called."""
    return f'{dataset}/{name}' if dataset in FOLDERS else f'{name}_{dataset}'


def find_configs(root: Path) -> list[str]:
    """Configs that a user can train, relative to the root."""
    paths = (path.relative_to(root) for path in (root / 'configs').rglob('*.py'))
    return sorted(
        str(path) for path in paths if path.parts[1] not in ('_base_', 'suites')
    )


CONFIGS = find_configs(ROOT)
BASELINES = [path for path in CONFIGS if path.startswith('configs/baseline/')]
PROBES = [path for path in CONFIGS if path.startswith('configs/transfer/')]
DISTILLERS = [path for path in CONFIGS if path not in (*BASELINES, *PROBES)]
# Of the many leaves every pair takes a step with this method, and every method with the
# smallest pair of its task.
METHOD = 'dhkd'
PAIRS = [path for path in DISTILLERS if parts_of(path)[::4] == (METHOD, '')]
METHOD_BASES = sorted(
    path.stem for path in (ROOT / 'configs' / '_base_' / 'methods').glob('*.py')
)
METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yml'))


def own_settings(path: str) -> set[str]:
    """What a leaf sets beside its model."""
    name = name_of(path)
    found = (keys for form, keys in OWN_SETTINGS.items() if re.fullmatch(form, name))
    return set().union(*found)


@cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


def read(path: Path) -> Config:
    """A config that is read once, and can be changed."""
    return copy.deepcopy(_read(path))


def build(cfg: Config) -> torch.nn.Module:
    """The model as the Runner builds it."""
    init_default_scope(cfg.default_scope)
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(cfg.model)


def check_leaf(root: Path, path: str) -> None:
    """Two bases and a line, and a name that says which; the rest is the baseline's."""
    method, teacher, student, dataset, variant = parts_of(path)
    pair = on(dataset, f'{teacher}_{student}')
    own = own_settings(path)
    folder = root / 'configs'
    statements = ast.parse((root / path).read_text()).body
    assert len(statements) <= 3 + len(own), path
    written = ast.literal_eval(statements[0].value)  # type: ignore[attr-defined]
    bases = [
        (root / path).parent.joinpath(base).resolve().relative_to(folder.resolve())
        for base in ([written] if isinstance(written, str) else written)
    ]
    names = [str(base.with_suffix('')) for base in bases]
    if variant:
        assert names == [each.format(pair=pair) for each in VARIANTS[variant]], path
    else:
        assert names[0] == f'_base_/pairs/{pair}', path
        # A method can have settings for a dataset or task: kd_in1k, dhkd_seg.
        base = re.escape(METHODS.get(method, method))
        assert re.fullmatch(rf'_base_/methods/{base}(_\w+)?', names[1])
        assert ast.unparse(statements[1]) == 'model = _base_.method', path
        # What the pair changes in the method, and the method beside the model.
        changed = [ast.unparse(each) for each in statements[2:]]
        of_model = [
            each
            for each in changed
            if re.match(
                r'model\.(losses\.\w+\.(\w+ = |update\()|task_loss_weight = )', each
            )
        ]
        assert len(of_model) <= 1, path
        assert all(
            each in of_model or each.partition(' = ')[0] in own for each in changed
        ), path

    cfg = Config.fromfile(root / path)
    if not variant:
        model = read(folder / f'{names[1]}.py').method
        exec('\n'.join(of_model), {'model': model})
        merged = Config._merge_a_into_b(model, read(folder / f'{names[0]}.py').model)
        assert cfg.model == merged, path
    baseline = read(folder / 'baseline' / f'{on(dataset, student)}.py')
    assert cfg.model.student == baseline.model, path
    for key in set(baseline) - {'model', 'default_hooks'} - own:
        assert cfg[key] == baseline[key], (path, key)
    assert set(cfg) - set(baseline) - {'method'} <= own, path
    assert all(cfg.get(key) != baseline.get(key) for key in own), path
    for key, hook in baseline.default_hooks.items():
        assert cfg.default_hooks[key] == hook, (path, key)
    assert set(cfg.default_hooks) - set(baseline.default_hooks) == {
        'teacher_check',
        'export_student',
    }


def check_parts(cfg: Config, own: set[str]) -> None:
    """Losses, hooks and optimizer take the settings that a leaf gives them."""
    init_default_scope(cfg.default_scope)
    for name, loss in cfg.model.losses.items():
        build_part(loss, f'losses.{name}', dict(num_classes=10))
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(hook)
    if 'optim_wrapper' in own:
        build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)


def size(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize('path', BASELINES)
def test_builds(path: str) -> None:
    model = build(Config.fromfile(ROOT / path))
    name = name_of(path).removeprefix('baseline/')
    assert size(model) == PARAMETERS[name]


@pytest.mark.parametrize('path', PROBES)
def test_probe(path: str) -> None:
    """The student of its name, frozen, with a layer for the classes of the folder."""
    cfg = Config.fromfile(ROOT / path)
    _, dataset, student = name_of(path).split('/')
    baseline = ROOT / 'configs' / 'baseline' / 'cifar100' / f'{student}.py'
    assert Path(cfg.model.config).resolve() == baseline
    checkpoint = f'work_dirs/baseline/cifar100/{student}/epoch_240.pth'
    assert cfg.model.checkpoint == checkpoint
    classes = {'stl10': 10, 'tiny-imagenet': 200}[dataset]
    model = build(cfg)
    layer = model.head.fc
    own = layer.weight.shape[1] + 1
    assert layer.weight.shape[0] == model.head.num_classes == classes
    assert size(model) == PARAMETERS[f'cifar100/{student}'] + own * (classes - 100)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'head.fc.weight', 'head.fc.bias'}


def test_probes_have_all_students_and_the_released_schedule() -> None:
    """Of HSAKD's code; wherever the images come from."""
    pairs = (ROOT / 'configs' / '_base_' / 'pairs' / 'cifar100').glob('*.py')
    students = {pair.stem.split('_')[1] for pair in pairs}
    expected = {
        f'{data}/{each}' for data in ('stl10', 'tiny-imagenet') for each in students
    }
    assert {name_of(path).removeprefix('transfer/') for path in PROBES} == expected
    for path in PROBES:
        cfg = Config.fromfile(ROOT / path)
        assert cfg.optim_wrapper.optimizer == dict(
            type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0
        )
        assert cfg.train_cfg.max_epochs == 100
        assert cfg.param_scheduler.milestones == [30, 60, 90]
        assert cfg.train_dataloader.batch_size == 64


@pytest.mark.parametrize('path', DISTILLERS)
def test_leaf(path: str) -> None:
    check_leaf(ROOT, path)
    check_parts(read(ROOT / path), own_settings(path))


@pytest.mark.parametrize(
    ('pair', 'other', 'up'),
    [
        ('res20_res8_digits', 'res20_res8w8_digitpairs', '..'),
        ('cifar100/res56_res20', 'cifar100/res110_res20', '../..'),
    ],
)
def test_a_leaf_that_is_new_or_wrong(
    tmp_path: Path, pair: str, other: str, up: str
) -> None:
    """A method base and a leaf of two lines: what it takes to configure a method."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    methods = tmp_path / 'configs' / '_base_' / 'methods'
    (methods / 'mine.py').write_text("method = dict(losses=dict(mine=dict(type='X')))")
    path = f'configs/mine/{pair}.py'
    leaf = tmp_path / path
    leaf.parent.mkdir(parents=True)
    right = (
        f"_base_ = ['{up}/_base_/pairs/{pair}.py', '{up}/_base_/methods/mine.py']\n"
        'model = _base_.method\n'
    )
    leaf.write_text(right)
    assert path in find_configs(tmp_path)
    check_leaf(tmp_path, path)
    assert Config.fromfile(leaf).model.losses == dict(mine=dict(type='X'))
    for wrong in (
        right.replace('methods/mine', 'methods/kd'),
        right.replace(f'pairs/{pair}', f'pairs/{other}'),
        f'{right}randomness = dict(seed=1)\n',
        f"{right}optim_wrapper = dict(type='mmkd_logit.GradAlignOptimWrapper')\n",
        f'{right}custom_hooks = []\n',
        f'{right}default_hooks = dict(logger=dict(interval=1))\n',
        f'{right}a = 1\nb = 2\n',
    ):
        leaf.write_text(wrong)
        with pytest.raises(AssertionError):
            check_leaf(tmp_path, path)


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


def take_a_step(cfg: Config) -> LogitDistiller:
    """The distiller of a config, after the backward pass of a step."""
    assert cfg.model.teacher.checkpoint
    cfg.model.teacher.checkpoint = None
    # Nothing is downloaded.
    cfg.model.student.pretrained = None
    backbone = cfg.model.student.backbone
    backbone.get('backbone_cfg', backbone).init_cfg = None
    model = build(cfg)
    model.init_weights()
    losses = model(**preprocessed(cfg), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert {f'loss_{name}' for name in cfg.model.losses} <= set(losses)
    return model


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize('path', PAIRS)
def test_a_step_of_each_pair(path: str) -> None:
    model = take_a_step(Config.fromfile(ROOT / path))
    _, _, student, dataset, _ = parts_of(path)
    assert size(model.student) == PARAMETERS[on(dataset, student)]


def test_every_pair_takes_a_step() -> None:
    pairs = ROOT / 'configs' / '_base_' / 'pairs'
    names = (path.relative_to(pairs).with_suffix('') for path in pairs.rglob('*.py'))
    assert sorted(map(str, names)) == sorted(
        name_of(path).removeprefix(f'{METHOD}/') for path in PAIRS
    )


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize('name', METHOD_BASES)
def test_a_step_of_each_method(name: str) -> None:
    folder = ROOT / 'configs' / '_base_'
    method = read(folder / 'methods' / f'{name}.py').method
    per_pixel = name.endswith('_seg')
    (pair,) = (folder / 'pairs').glob('*_scenes.py' if per_pixel else '*_digits.py')
    cfg = read(pair)
    cfg.model = Config._merge_a_into_b(method, cfg.model)
    take_a_step(cfg)


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


@pytest.mark.parametrize('path', [path for path in CONFIGS if 'kendall-tau/' in path])
def test_kendall_tau_has_the_weight_of_the_loss_that_it_joins(path: str) -> None:
    joined = read(ROOT / path.replace('_kendall-tau/', '/'))
    cfg = read(ROOT / path)
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


@pytest.mark.parametrize('path', PAIRS)
def test_teacher_is_what_the_toolbox_publishes(path: str) -> None:
    teacher = read(ROOT / path).model.teacher
    package, found, name = teacher.config.partition('::')
    if not found:  # trained here, and left where tools/train.py puts it
        config = Path(teacher.config).resolve()
        assert config.is_relative_to(ROOT / 'configs')
        length = Config.fromfile(config).train_cfg
        unit = 'epoch' if length.by_epoch else 'iter'
        last = f'{unit}_{length[f"max_{unit}s"]}.pth'
        assert teacher.checkpoint == f'work_dirs/{config_name(config)}/{last}'
        return
    if 'pytorch.org' in teacher.checkpoint:  # the config is mmpretrain's all the same
        weights = get_model_weights(Path(name).name.partition('_')[0]).IMAGENET1K_V1
        assert teacher.checkpoint == weights.url
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
    for path in CONFIGS:
        folder = ROOT / 'configs' / name_of(path).split('/')[0]
        assert (folder / 'metafile.yml') in METAFILES
        text = (folder / 'README.md').read_text()
        assert f'`{path}`' in text, f'{folder.name}/README.md does not name {path}'
