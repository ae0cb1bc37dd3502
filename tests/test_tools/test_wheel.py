"""The wheel works where it is installed, without the repository."""

import json
import re
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_lines import CONFIGS, REPO, attempt, run, scalars

LOAD = """
import json

import mmkd_logit.registry
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

cfg = Config.fromfile('user.py')
runner = Runner.from_cfg(cfg)
for loader in (cfg.train_dataloader, cfg.val_dataloader):
    for transform in loader.dataset.pipeline:
        TRANSFORMS.build(transform)
print(json.dumps([mmkd_logit.__file__, cfg.model.to_dict(), str(runner.model)]))
"""
FUNCTIONAL = """
import importlib.util
import sys

import torch
from mmkd_logit.functional import binary_kl_norm_loss, kd_loss

student = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
loss = binary_kl_norm_loss(student, torch.tensor([[4.0, 1.0, 0.0]]))
loss.backward()
print(f'{loss:.4f} {student.grad[0, 0]:.4f} {kd_loss(student, student):.4f}')
assert importlib.util.find_spec('mmengine') is None
"""
PIP = (sys.executable, '-m', 'pip')
# Names of the stack and of what it is installed as, and of this package.
STACK = re.compile(r'(onedl|mm(engine|cv|pretrain|seg|kd)|__editable__)')


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing behind."""
    source = tmp_path_factory.mktemp('source')
    for path in REPO.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    for name in ('configs', 'mmkd_logit', 'tools'):
        ignore = shutil.ignore_patterns('.mim', '__pycache__')
        shutil.copytree(REPO / name, source / name, ignore=ignore)
    return source


@pytest.fixture(scope='module')
def wheel(source: Path) -> Path:
    """The wheel, built with the setuptools that is here, if one is."""
    isolation = ['--no-build-isolation'] if find_spec('setuptools') else []
    run(
        *(*PIP, 'wheel', '--no-deps', *isolation, '--wheel-dir', 'wheels', '.'),
        cwd=source,
    )
    (path,) = (source / 'wheels').iterdir()
    return path


@pytest.fixture(scope='module')
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment with the wheel, and nothing else so far."""
    python = new_environment(tmp_path_factory.mktemp('venv'))
    run(
        *(*PIP, '--python', python, 'install', '--no-deps', '--no-index', wheel),
        cwd=wheel.parent,
    )
    return python


@pytest.fixture
def with_stack(python: Path) -> Path:
    """Python of the environment that sees the OpenMMLab stack too."""
    return show(python, site_packages())


@pytest.fixture
def with_torch(python: Path, tmp_path: Path) -> Path:
    """Python of the environment that sees torch and the like, but no stack."""
    folder = tmp_path / 'torch-only'
    folder.mkdir()
    for path in (path for place in site_packages() for path in place.iterdir()):
        link = folder / path.name
        if path.suffix != '.pth' and not STACK.match(path.name) and not link.exists():
            link.symlink_to(path)
    return show(python, [folder])


@pytest.fixture(scope='module')
def editable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment where the sources are installed to be edited."""
    folder = tmp_path_factory.mktemp('venv')
    python = show(new_environment(folder), site_packages())
    install = ('install', '--no-deps', '--no-index', '--no-build-isolation')
    run(*PIP, '--python', python, *install, '--editable', source, cwd=folder)
    return python


def new_environment(folder: Path) -> Path:
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder)
    return folder / 'bin' / 'python'


def packages_of(python: Path) -> Path:
    (folder,) = python.parent.parent.glob('lib/python*/site-packages')
    return folder


def site_packages() -> list[Path]:
    """Where the running Python has its packages."""
    folders = [Path(folder) for folder in sys.path]
    return [path for path in folders if path.name in ('site-packages', 'dist-packages')]


def show(python: Path, folders: list[Path]) -> Path:
    """Let an environment see packages that are installed elsewhere."""
    path = packages_of(python) / 'others.pth'
    path.write_text('\n'.join(map(str, folders)))
    return python


def home(tmp_path: Path) -> dict[str, str]:
    """Environment without the repository; mim writes to the home folder."""
    return {'PYTHONPATH': '', 'HOME': str(tmp_path)}


def write_digits_config(teacher: Path, tmp_path: Path) -> None:
    """The config of a user who inherits one of the package, for two iterations."""
    (tmp_path / 'user.py').write_text(
        "_base_ = 'mmkd_logit::dhkd/res20_res8_digits.py'\n"
        f'model = dict(teacher=dict(checkpoint={str(teacher)!r}))\n'
        'train_dataloader = dict(batch_size=16, dataset=dict(indices=32))\n'
        'train_cfg = dict(max_epochs=1)\n'
        'default_hooks = dict(\n'
        '    logger=dict(interval=1), teacher_check=dict(minimum=0)\n'
        ')\n'
    )


def check_trained(work_dir: Path, teacher: Path) -> None:
    assert len(scalars(work_dir, 'loss_dhkd')) == 2
    of_teacher = scalars(teacher.parent, 'accuracy/top1')[-1:]
    assert scalars(work_dir, 'teacher/accuracy/top1') == of_teacher
    assert (work_dir / 'student_last.pth').exists()


def test_wheel_holds_package_configs_and_tools(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name for name in names if not name.split('/')[0].endswith('.dist-info')}
    expected = {
        f'mmkd_logit/{prefix}{path.relative_to(folder).as_posix()}'
        for folder, prefix in (
            (REPO / 'mmkd_logit', ''),
            (CONFIGS, '.mim/configs/'),
            (REPO / 'tools', '.mim/tools/'),
        )
        for path in folder.rglob('*')
        if path.is_file() and not {'.mim', '__pycache__'} & set(path.parts)
    }
    assert shipped == expected | {'mmkd_logit/.mim/model-index.yml'}
    assert 'mmkd_logit/.mim/tools/dist_train.sh' in shipped


def test_config_of_a_user(with_stack: Path, tmp_path: Path) -> None:
    (tmp_path / 'user.py').write_text(
        "_base_ = 'mmkd_logit::dhkd/res34_res18_in1k.py'\n"
        "model = dict(aux_head=dict(type='MLPLogitHead'))\n"
        "work_dir = 'work'\n"
    )
    result = run(with_stack, '-c', LOAD, cwd=tmp_path, env=home(tmp_path))
    file, model, built = json.loads(result.stdout.splitlines()[-1])

    assert Path(file).is_relative_to(packages_of(with_stack))
    assert model['type'] == 'mmkd_logit.LogitDistiller'
    assert model['student']['type'] == 'ImageClassifier'
    assert model['student']['backbone']['depth'] == 18
    assert model['teacher']['config'] == 'mmpretrain::resnet/resnet34_8xb32_in1k.py'
    assert built.startswith('LogitDistiller(')
    assert '(aux_head): MLPLogitHead(' in built
    assert 'Linear(in_features=200, out_features=1000, bias=True)' in built


def test_shipped_train_tool(with_stack: Path, teacher: Path, tmp_path: Path) -> None:
    write_digits_config(teacher, tmp_path)
    tool = packages_of(with_stack) / 'mmkd_logit' / '.mim' / 'tools' / 'train.py'
    options = ('--work-dir', 'work')
    run(with_stack, tool, 'user.py', *options, cwd=tmp_path, env=home(tmp_path))
    check_trained(tmp_path / 'work', teacher)


MIM_ROOT = "from mim.utils import get_installed_path as g; print(g('mmkd_logit'))"


@pytest.mark.parametrize('install', ['editable', 'with_stack'])
def test_mim_train(
    install: str, teacher: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    python = request.getfixturevalue(install)
    root = run(python, '-c', MIM_ROOT, cwd=tmp_path, env=home(tmp_path)).stdout.strip()
    if root.endswith('.dist-info'):
        # It takes the first file that pip lists for one of the package.
        pytest.xfail(f'this mim looks for the package in {Path(root).name}')
    write_digits_config(teacher, tmp_path)
    mim = ('-c', 'from mim.cli import cli; cli()', 'train', 'mmkd_logit', 'user.py')
    result = run(
        *(python, *mim, '--gpus', '0', '--work-dir', 'work'),
        cwd=tmp_path,
        env=home(tmp_path),
    )
    assert 'Training finished successfully.' in result.stdout
    check_trained(tmp_path / 'work', teacher)


def test_editable_install_links_configs_and_tools(
    editable: Path, source: Path, tmp_path: Path
) -> None:
    mim = source / 'mmkd_logit' / '.mim'
    assert (mim / 'configs').resolve() == source / 'configs'
    assert (mim / 'tools').resolve() == source / 'tools'
    code = 'import mmkd_logit; print(mmkd_logit.__file__)'
    result = run(editable, '-c', code, cwd=tmp_path, env=home(tmp_path))
    assert result.stdout.strip() == str(source / 'mmkd_logit' / '__init__.py')


def test_losses_need_torch_only(with_torch: Path, tmp_path: Path) -> None:
    result = run(with_torch, '-c', FUNCTIONAL, cwd=tmp_path, env=home(tmp_path))
    assert result.stdout.strip() == '0.6042 -0.4621 0.0000'


@pytest.mark.parametrize('part', ['datasets', 'engine', 'models', 'registry'])
def test_error_without_a_stack_names_both(
    part: str, with_torch: Path, tmp_path: Path
) -> None:
    code = f'import mmkd_logit.{part}'
    result = attempt(with_torch, '-c', code, cwd=tmp_path, env=home(tmp_path))
    assert result.returncode == 1
    assert 'pip install "mmkd_logit[onedl]"' in result.stdout
    assert 'pip install "mmkd_logit[openmmlab]"' in result.stdout


def test_shipped_suites(with_stack: Path, tmp_path: Path) -> None:
    tool = packages_of(with_stack) / 'mmkd_logit' / '.mim' / 'tools' / 'compare.py'
    arguments = (tool, 'quickstart', '--dry-run')
    result = run(with_stack, *arguments, cwd=tmp_path, env=home(tmp_path))
    assert '10 of 10 runs to do' in result.stdout
    assert not (tmp_path / 'work_dirs').exists()
