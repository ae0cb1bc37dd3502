"""Arguments that the tools share."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from mmkd_logit.arguments import Parser, add_common_arguments, picture_path

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
HELP = """
import runpy, sys
for tool in sys.argv[1:]:
    sys.argv = [tool, '--help']
    try:
        runpy.run_path(tool, run_name='__main__')
    except SystemExit as end:
        assert end.code == 0
heavy = {'torch', 'mmengine', 'mmcv', 'mmpretrain', 'matplotlib', 'scipy', 'rich'}
sys.exit(', '.join(heavy & set(sys.modules)) or None)
"""


def test_help_does_not_import_the_stack() -> None:
    tools = [path for path in TOOLS.rglob('*.py') if path.parent.name != 'benchmarks']
    assert len(tools) > 12
    result = subprocess.run(
        [sys.executable, '-c', HELP, *map(str, tools)], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout.count('\nusage: ') == len(tools) - 1
    assert result.stdout.count('--traceback ') == len(tools)


def parse(*args: str) -> argparse.Namespace:
    parser = Parser('A tool.')
    add_common_arguments(parser)
    return parser.parse_args(args)


def test_overrides() -> None:
    options = ['--cfg-options', 'a.b=[1,2]', 'c=x=y', '--cfg-options', 'd=False']
    assert parse('mine.py', *options).cfg_options == {
        'a.b': [1, 2],
        'c': 'x=y',
        'd': False,
    }
    assert parse('mine.py').cfg_options is None


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('lr', '--cfg-options lr: write KEY=VALUE.'),
        ('=1', '--cfg-options =1: write KEY=VALUE.'),
        ('a=[1,', '--cfg-options a=[1,: Imbalanced brackets'),
    ],
)
def test_bad_overrides(
    option: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match='2'):
        parse('mine.py', '--cfg-options', option)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_only_the_first_process_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit, match='2'):
        parse()
    assert capsys.readouterr() == ('', '')


def test_picture_path(tmp_path: Path) -> None:
    assert picture_path(str(tmp_path / 'a.PDF')).suffix == '.PDF'
    with pytest.raises(argparse.ArgumentTypeError, match='one of .png, .pdf, .svg'):
        picture_path('numbers.csv')
    with pytest.raises(argparse.ArgumentTypeError, match='folder nowhere does not'):
        picture_path('nowhere/a.png')
