"""Every number that was measured here is read from the file that a run wrote."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from mmkd_logit.suites import Report, read_suite
from mmkd_logit.suites.report import Line, spread

ROOT = Path(__file__).parents[1]
BENCHMARK = ROOT / 'docs' / 'benchmark'
RESULTS = sorted(BENCHMARK.glob('*/results.json'))
READMES = sorted((ROOT / 'configs').glob('*/README.md'))
METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yml'))
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')), *READMES]


@cache
def report(suite: str) -> Report:
    return Report.from_json((BENCHMARK / suite / 'results.json').read_text())


def lines_of(suite: str) -> list[Line]:
    return report(suite).all_lines


def line_of(suite: str, config: str) -> Line:
    """The line of a config in a suite, without overrides."""
    name = config.removeprefix('configs/')
    (line,) = [x for x in lines_of(suite) if x.config == name and not x.options]
    return line


def by_name(path: Path) -> str:
    return path.parent.name


@pytest.mark.parametrize('path', RESULTS, ids=by_name)
def test_files_of_a_suite_agree(path: Path) -> None:
    """What is published is the suite, and its tables are made of its results."""
    found, suite = report(by_name(path)), read_suite(by_name(path))
    # Rows that the suite has got since follow those that were run.
    rows = suite.rows[: len(found.lines)]
    assert [line.name for line in found.lines] == [row.name for row in rows]
    assert [dict(line.options) for line in found.lines] == [
        dict(row.options) for row in rows
    ]
    for line in found.lines:
        assert list(line.results) == suite.seeds, line.name
    for name, text in (
        ('table.md', found.markdown()),
        ('table.tex', found.latex()),
        ('table.csv', found.csv()),
    ):
        assert (path.parent / name).read_text() == text


def test_all_were_made_alike() -> None:
    """On the same number of threads, from a commit, by one release."""
    made = [report(by_name(path)).made_with for path in RESULTS]
    assert len({each['threads'] for each in made}) == 1
    assert len({each['versions']['torch'] for each in made}) == 1
    for path in RESULTS:
        for line in lines_of(by_name(path)):
            for result in line.results.values():
                assert result.commit, (path, line.name)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_those_of_the_runs(page: Path) -> None:
    """A table below the name of a suite, as an HTML comment, is that suite's."""
    text = page.read_text()
    for suite, table in re.findall(r'<!-- suite: (\S+) -->\n\n((?:\|.*\n)+)', text):
        assert table == report(suite).markdown(times=False), suite
    assert len(re.findall('<!-- suite:', text)) == len(
        re.findall(r'<!-- suite: \S+ -->\n\n\|', text)
    )


@pytest.mark.parametrize('page', READMES, ids=by_name)
def test_rows_that_say_measured(page: Path) -> None:
    for row in page.read_text().splitlines():
        if '(measured' not in row:
            continue
        cells = [cell.strip() for cell in row.strip('| ').split(' | ')]
        suite = re.search(r'\(measured, suite (\S+)\)', row)
        assert suite is not None, row
        config = cells[0].strip('`')
        line = line_of(suite[1], config)
        assert f'{spread(line.values("last"))} (measured' in row
        # Teacher and plain student, where they stand beside it.
        if len(cells) == 4 and re.match(r'\d', cells[1]):
            teacher, plain, *_ = lines_of(suite[1])
            assert cells[1] == spread(teacher.values('last')), row
            assert cells[2] == spread(plain.values('last')), row


@pytest.mark.parametrize('path', METAFILES, ids=by_name)
def test_metafiles(path: Path) -> None:
    for model in yaml.safe_load(path.read_text())['Models']:
        for result in model.get('Results', []):
            if result['Origin'] != 'measured':
                continue
            suite = re.fullmatch(r'docs/benchmark/(\w+)/results.json', result['Source'])
            assert suite is not None, model['Name']
            values = line_of(suite[1], model['Config']).values('last')
            (value,) = result['Metrics'].values()
            assert value == float(spread(values).split()[0]), model['Name']


def test_prose_of_the_benchmark_page() -> None:
    """Every number with two decimals is in a table of a suite, or published."""
    known = set()
    for path in RESULTS:
        table = report(by_name(path)).markdown()
        known.update(re.findall(r'\d+\.\d\d', table))
    text = (ROOT / 'docs' / 'benchmark.md').read_text()
    assert set(re.findall(r'\d+\.\d\d\b', text)) <= known


def test_cosines_of_one_head() -> None:
    """The means over training that the README of DHKD gives."""
    rows = list(csv.DictReader((BENCHMARK / 'heads' / 'curves.csv').open()))
    text = ' '.join((ROOT / 'configs' / 'dhkd' / 'README.md').read_text().split())
    given = re.search(
        r'mean cosine (\S+) with BinaryKL, (\S+) with BinaryKL-Norm\) than in the '
        r'backbone \((\S+) and (\S+)\)',
        text,
    )
    assert given is not None
    means = [
        [float(r['mean']) for r in rows if (r['key'], r['label']) == (key, label)]
        for key in ('grad_cos/classifier', 'grad_cos/backbone')
        for label in ('CE + BinaryKL, one head', 'CE + BinaryKL-Norm, one head')
    ]
    assert list(given.groups()) == [f'{sum(m) / len(m):.2f}' for m in means]
    assert all(min(each) > 0 for each in means)
