"""The page of published numbers holds what the metafiles and READMEs hold."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
PAGE = (ROOT / 'docs' / 'published.md').read_text()
NAMES = Config.fromfile(CONFIGS / '_base_' / 'suites' / 'methods.py')._names
IN1K = ('tv-res34_res18', 'res50_mobilenetv1')
# What marks a number that is not from where the others of its column are.
MARKS = {'': None, r' \*': 'LSKD', r' \*\*': 'mdistiller'}


@cache
def results(folder: str) -> dict[str, tuple[str, str]]:
    """Top-1 and source of each published config in a folder, by its path."""
    found = {}
    metafile = yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())
    for model in metafile['Models']:
        for result in model.get('Results', []):
            top1 = result['Metrics'].get('Top 1 Accuracy')
            if result['Origin'] == 'published' and top1 is not None:
                path = model['Config'].removeprefix(f'configs/{folder}/')
                found[path] = f'{top1:.2f}', result['Source']
    return found


def in_readme(config: str) -> tuple[str, str]:
    """Teacher and student alone in KD's README, of which no metafile is ours."""
    text = (CONFIGS / 'kd' / 'README.md').read_text()
    (row,) = re.findall(rf'^\| `configs/kd/{config}` \| (\S+) \| (\S+) \|', text, re.M)
    return row


def pairs_of(suite: str) -> list[str]:
    return list(Config.fromfile(CONFIGS / 'suites' / f'{suite}.py')._pairs)


def table_of(title: str) -> list[list[str]]:
    """Cells of the first table below a title."""
    below = PAGE.split(f'\n## {title}\n')[1]
    table = re.search(r'((?:\|.*\n)+)', below)
    assert table is not None
    return [
        [cell.strip() for cell in line.strip().strip('|').split(' |')]
        for line in table[1].splitlines()
    ]


def sources() -> dict[str, str]:
    return dict(re.findall(r'^\[(.+)\]: (\S+)$', PAGE, re.M))


def check(
    cell: str, expected: tuple[str, str] | None, source: str, where: object
) -> None:
    """A number, with a mark if it is not from the source of its column."""
    if expected is None:
        assert cell == '', where
        return
    top1, url = expected
    number, mark = cell[:5], cell[5:]
    assert number == top1, where
    assert sources()[MARKS[mark] or source] == url, where


@pytest.mark.parametrize(
    ('title', 'suite', 'path'),
    [
        ('CIFAR-100, one family', 'cifar100_same-family', 'cifar100/{}.py'),
        ('CIFAR-100, two families', 'cifar100_across-families', 'cifar100/{}.py'),
        ('ImageNet', 'imagenet', '{}_in1k.py'),
    ],
)
def test_numbers(title: str, suite: str, path: str) -> None:
    head, _, *rows, of_columns = table_of(title)
    pairs = [pair for pair in pairs_of(suite) if suite != 'imagenet' or pair in IN1K]
    assert [row[0] for row in rows] == [f'`{pair}`' for pair in pairs]
    # Every method of which a number is at hand has a column.
    folders = [
        folder
        for folder in NAMES
        if any(path.format(pair) in results(folder) for pair in pairs)
    ]
    assert head == ['pair', 'teacher', 'student', *(NAMES[f] for f in folders)]
    assert of_columns[0] == 'source'
    named = [cell.strip('[]') for cell in of_columns[1:]]
    for pair, (_, *cells) in zip(pairs, rows, strict=True):
        if suite == 'imagenet':
            assert (cells[0], cells[1]) == in_readme(path.format(pair))
        else:
            for network, cell, source in zip(pair.split('_'), cells, named):
                plain = results('baseline')[path.format(network)]
                check(cell, plain, source, (pair, network))
        for folder, cell, source in zip(folders, cells[2:], named[2:], strict=True):
            check(cell, results(folder).get(path.format(pair)), source, (pair, folder))


def test_no_other_numbers() -> None:
    """Accuracies are in the tables alone."""
    prose = re.sub(r'^\|.*\n', '', PAGE, flags=re.M)
    assert re.findall(r'\b\d\d\.\d', prose) == []
