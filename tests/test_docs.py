"""What the Markdown files name exists, and their commands take what they are given."""

from __future__ import annotations

import ast
import io
import pydoc
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import yaml
from mmengine.config import Config
from mmengine.registry import DATASETS, VISBACKENDS

import mmkd_logit.registry  # noqa: F401  for configs that inherit ours
from mmkd_logit.apis import build_model
from mmkd_logit.models import Teacher, Teachers
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.models.teachers.sources import SOURCES

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in ROOT.rglob('*.md')
    if not {'.mim', 'work_dirs'} & set(path.parts)
    and not any(part.startswith('.') for part in path.relative_to(ROOT).parts)
)
PATH = re.compile(r'(?<![\w/.:-])((?:configs|tools|docs|tests|mmkd_logit)/[\w./-]*\w)')
# What `python` runs in a page, beside our own tools.
NOT_TOOLS = ('-m', 'mine/use.py')
every_page = pytest.mark.parametrize(
    'page', PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.M | re.S)


def is_there(path: Path) -> bool:
    """Tell whether a path exists; a folder needs a file, git knows no empty one."""
    return path.is_file() or any(child.is_file() for child in path.rglob('*'))


@every_page
def test_paths_exist(page: Path) -> None:
    text = page.read_text()
    missing = [path for path in PATH.findall(text) if not is_there(ROOT / path)]
    for target in re.findall(r'\]\(([^)#]+)', text):
        if '://' not in target and not is_there(page.parent / target):
            missing.append(target)
    assert not missing


@cache
def help_of(tool: str) -> str:
    """What a tool says of its arguments, in this process: imports take seconds."""
    path = ROOT / tool
    said = io.StringIO()
    with (
        mock.patch.object(sys, 'argv', [tool, '--help']),
        mock.patch.object(sys, 'path', [str(path.parent), *sys.path]),
        mock.patch('signal.signal'),
        redirect_stdout(said),
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(str(path), run_name='__main__')
    assert end.value.code == 0
    return said.getvalue()


@every_page
def test_commands_take_their_options(page: Path) -> None:
    for block in code_blocks(page, 'bash'):
        for line in re.split(r'\n|&&', block.replace('\\\n', ' ')):
            words = shlex.split(line, comments=True)
            if len(words) < 2 or words[0] != 'python' or words[1] in NOT_TOOLS:
                continue
            assert (ROOT / words[1]).is_file(), line
            for word in words[2:]:
                if word.startswith('--'):
                    assert word in help_of(words[1]), line


def test_the_teachers_of_the_page_are_taken() -> None:
    blocks = code_blocks(ROOT / 'docs' / 'teachers.md', 'python')
    sources = set()
    for block in blocks:
        if block.startswith('from timm'):
            exec(block, {})
            continue
        model = Config.fromstring(block, '.py').get('model')
        if model is None:
            continue
        settings = model.teacher
        if isinstance(settings, list):
            made = Teachers(settings, model.teacher_average)
        else:
            made = Teacher(**settings)
        sources |= {each.source for each in made.members.values()}
    assert sources == set(SOURCES) - {'model'}


def test_the_config_of_the_guide_merges(tmp_path: Path) -> None:
    (example,) = (
        block
        for block in code_blocks(ROOT / 'docs' / 'distilling.md', 'python')
        if block.startswith('_base_')
    )
    path = tmp_path / 'mine.py'
    path.write_text(example)
    model = Config.fromfile(path).model
    assert model.type == 'mmkd_logit.LogitDistiller'
    assert model.student.head.num_classes == 10
    assert model.losses.dhkd.head == 'aux'


def test_the_loss_and_the_transform_of_the_guide_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from mmkd_logit.registry import MODELS, ROW_TRANSFORMS
    from mmkd_logit.structures import LogitRows

    page = ROOT / 'docs' / 'adding_a_loss.md'
    loss_code, loss_config, code, config = code_blocks(page, 'python')
    (tmp_path / 'my_losses.py').write_text(loss_code)
    (tmp_path / 'my_transforms.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Config.fromstring(loss_config, '.py').model.losses['mse']
    loss = MODELS.build(dict(settings, type='mmkd_logit.LogitMSELoss'))
    rows = LogitRows(student=torch.zeros(2, 3), teacher=torch.full((2, 3), 2.0))
    assert loss(rows) == pytest.approx(0.4)
    settings = Config.fromstring(config, '.py').model.losses['kd']
    (clip,) = MODELS.build(dict(settings, type='mmkd_logit.KDLoss')).transforms
    logits = torch.tensor([[6.0, -6.0, 0.0]])
    for clipped in clip(logits, 3 * logits, rows):
        assert clipped.tolist() == [[5.0, -5.0, 0.0]]
    ROW_TRANSFORMS.module_dict.pop('clip')


def pages_in(nav: list | dict | str) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_in(part)]


def test_every_page_is_in_the_site() -> None:
    nav = yaml.safe_load((ROOT / '.ci' / 'mkdocs.yml').read_text())['nav']
    docs = ROOT / 'docs'
    of_runs = docs / 'benchmark'
    pages = [page for page in docs.rglob('*.md') if of_runs not in page.parents]
    assert sorted(pages_in(nav)) == sorted(
        page.relative_to(docs).as_posix() for page in pages
    )


def test_the_reference_has_every_public_name() -> None:
    from mmkd_logit import datasets, engine, functional, models, modules

    pages = (ROOT / 'docs' / 'api').glob('*.md')
    listed = re.findall(r'^::: (\S+)$', '\n'.join(p.read_text() for p in pages), re.M)
    public = [
        (module, name)
        for module in (datasets, engine, functional, models)
        for name in module.__all__
    ]
    public += [(modules, name) for name in set(modules.__all__) - set(models.__all__)]
    assert sorted(listed) == sorted(f'{each.__name__}.{name}' for each, name in public)


def test_the_built_reference_shows_a_signature_of_every_name(tmp_path: Path) -> None:
    pytest.importorskip('mkdocstrings', reason='the extra "docs" is not installed')
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / '.ci' / 'mkdocs.yml'), site_dir=str(tmp_path)))
    for page in (ROOT / 'docs' / 'api').glob('*.md'):
        listed = re.findall(r'^::: (\S+)$', page.read_text(), re.M)
        html = (tmp_path / 'api' / f'{page.stem}.html').read_text()
        shown = re.findall(r'<h2 id="(\S+)"(?:(?!<h2 ).)*?"doc-signature', html, re.S)
        # A class that only inherits its constructor has none.
        rest = [name for name in listed if name not in shown]
        assert all('__init__' not in vars(pydoc.locate(name)) for name in rest)


LOOPS = [
    block
    for page in ('docs/without_openmmlab.md', 'README.md')
    for block in code_blocks(ROOT / page, 'python')
    if 'import torch' in block
]


def test_the_plain_loops_are_found() -> None:
    assert len(LOOPS) == 7
    assert sum('import lightning' in block for block in LOOPS) == 1


@pytest.mark.parametrize('block', LOOPS, ids=range(len(LOOPS)))
def test_the_plain_loops_run(block: str) -> None:
    if 'import lightning' in block:
        pytest.importorskip('lightning', reason='lightning is not installed')
    # A class is found by the module that it names.
    exec(block, made := {'__name__': 'plain_loop'})
    loss = made.get('loss', made.get('distill'))
    assert loss is not None
    assert loss.isfinite() and loss > 0


def messages() -> str:
    """All texts of the sources, a line each, with an ellipsis for each value."""
    texts = []
    for folder in ('mmkd_logit', 'tools'):
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, 'value', '') for part in node.values)
                    texts.append(
                        ''.join(p if isinstance(p, str) else '…' for p in parts)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return '\n'.join(texts)


def test_the_messages_of_the_page_are_ours() -> None:
    text = (ROOT / 'docs' / 'troubleshooting.md').read_text()
    quoted = re.findall(r'^### `(.*)`$', text, re.M)
    assert len(quoted) == text.count('\n### ')
    ours = messages()
    assert [message for message in quoted if message not in ours] == []


def test_the_backends_of_the_page_are_registered() -> None:
    (block,) = code_blocks(ROOT / 'docs' / 'reading_the_log.md', 'python')
    for backend in Config.fromstring(block, '.py').visualizer.vis_backends:
        assert backend.type in VISBACKENDS


def test_the_configs_of_the_other_pages_build_distillers(tmp_path: Path) -> None:
    for page in ('README.md', 'docs/migrating.md'):
        for block in code_blocks(ROOT / page, 'python'):
            if '_base_' in block:
                path = tmp_path / 'mine.py'
                path.write_text(block)
                cfg = Config.fromfile(path)
                assert is_distiller(cfg.model)
                Teacher(**cfg.model.teacher)


def test_the_segmentors_of_the_page_read_their_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine').mkdir()
    for block in code_blocks(ROOT / 'docs' / 'segmentation.md', 'python'):
        name = block.splitlines()[0].removeprefix('# ')
        (tmp_path / name).write_text(block)
    for split in ('train', 'val'):
        for kind, shape in (('images', (64, 64, 3)), ('labels', (64, 64))):
            path = tmp_path / 'cells' / kind / split / '0.png'
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), np.ones(shape, np.uint8))
    cfg = Config.fromfile('mine/seg_kd.py')
    model = build_model(cfg)
    assert model.student.decode_head.num_classes == 2
    for name in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{name}_dataloader'].dataset)
        (sample,) = dataset
        assert (sample['data_samples'].gt_sem_seg.data == 1).any()
        assert dataset.metainfo['classes'] == ('background', 'cell')


def test_the_changelog_names_every_public_class() -> None:
    from mmkd_logit import datasets, engine, models

    text = (ROOT / 'CHANGELOG.md').read_text()
    for module in (datasets, engine, models):
        for name in module.__all__:
            if name not in ('LogitLoss', 'Teacher'):
                assert f'`{name}`' in text, name
