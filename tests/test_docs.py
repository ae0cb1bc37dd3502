"""What the Markdown files name exists, and their commands take what they are given."""

from __future__ import annotations

import io
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from mmengine.config import Config

import mmkd_logit.registry  # noqa: F401  for configs that inherit ours
from mmkd_logit.models import Teacher, Teachers
from mmkd_logit.models.teachers.sources import SOURCES

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in ROOT.rglob('*.md')
    if not {'.mim', 'work_dirs'} & set(path.parts)
    and not any(part.startswith('.') for part in path.relative_to(ROOT).parts)
)
PATH = re.compile(r'(?<![\w/.:-])((?:configs|tools|docs|tests|mmkd_logit)/[\w./-]*\w)')
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
            if len(words) < 2 or words[0] != 'python' or words[1] == '-m':
                continue
            assert (ROOT / words[1]).is_file(), line
            for word in words[2:]:
                if word.startswith('--'):
                    assert word in help_of(words[1]), line


def test_the_teachers_of_the_page_are_taken() -> None:
    blocks = code_blocks(ROOT / 'docs' / 'teachers.md', 'python')
    sources = set()
    for block in blocks:
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


def test_the_config_of_the_readme_merges(tmp_path: Path) -> None:
    (example,) = (
        block
        for block in code_blocks(ROOT / 'README.md', 'python')
        if block.startswith('_base_')
    )
    path = tmp_path / 'mine.py'
    path.write_text(example)
    model = Config.fromfile(path).model
    assert model.type == 'mmkd_logit.LogitDistiller'
    assert model.student.head.num_classes == 10
    assert model.losses.dhkd.head == 'aux'


def test_the_loss_of_the_readme_works() -> None:
    import torch

    from mmkd_logit.registry import MODELS
    from mmkd_logit.structures import LogitRows

    (example,) = (
        block
        for block in code_blocks(ROOT / 'README.md', 'python')
        if 'register_module' in block
    )
    exec(example, {})
    loss = MODELS.build(dict(type='mmkd_logit.LogitMSELoss', loss_weight=0.5))
    rows = LogitRows(student=torch.zeros(2, 3), teacher=torch.full((2, 3), 2.0))
    assert loss(rows) == 2.0


def test_the_changelog_names_every_public_class() -> None:
    from mmkd_logit import datasets, engine, models

    text = (ROOT / 'CHANGELOG.md').read_text()
    for module in (datasets, engine, models):
        for name in module.__all__:
            if name not in ('LogitLoss', 'Teacher'):
                assert f'`{name}`' in text, name
