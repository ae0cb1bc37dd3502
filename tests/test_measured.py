"""Every number that was measured here is read from the file that a run wrote."""

from __future__ import annotations

import csv
import json
import re
import runpy
import sys
from functools import cache
from pathlib import Path
from unittest import mock

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
    assert [line.name for line in found.lines] == [row.name for row in suite.rows]
    assert [dict(line.options) for line in found.lines] == [
        dict(row.options) for row in suite.rows
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


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_of_latency_are_those_of_the_runs(page: Path) -> None:
    """A table below 'latency: name', as an HTML comment, is made of that file.

    Where nothing has been measured yet there is no table.
    """
    blocks = re.findall(r'<!-- latency: (\S+) -->\n\n((?:\|.*\n)*)', page.read_text())
    for name, table in blocks:
        path = BENCHMARK / 'latency' / f'{name}.json'
        expected = latency_table(path) if path.is_file() else ''
        assert table == expected, name


def latency_table(path: Path) -> str:
    folder = ROOT / 'tools' / 'benchmarks'
    with mock.patch.object(sys, 'path', [str(folder), *sys.path]):
        tool = runpy.run_path(str(folder / 'latency.py'))
    table = tool['markdown'](json.loads(path.read_text()))
    assert path.with_suffix('.md').read_text() == table
    return table


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


PICTURES = ROOT / 'docs' / 'pictures'


def rows_of(picture: str) -> list[dict[str, str]]:
    return list(csv.DictReader((PICTURES / f'{picture}.csv').open()))


def test_prose_of_the_pictures() -> None:
    """Every number is in the file that the tool wrote beside the picture."""
    page = (ROOT / 'docs' / 'reading_the_pictures.md').read_text()
    (output,) = re.findall(r'```text\n(.*?)```', page, re.S)
    compared = {row.pop('label'): row for row in rows_of('comparison')}
    for label, row in compared.items():
        cells = [
            f'{float(value):.{2 if ", " in name else 4}f}'
            for name, value in row.items()
            if value
        ]
        assert f'{label} {" ".join(cells)}' in ' '.join(output.split())
    teacher, plain, distilled = compared.values()

    prose = ' '.join(re.sub(r'```.*?```', '', page, flags=re.S).split())
    last = {
        row['label']: row
        for row in rows_of('curves')
        if row['key'] == 'accuracy/top1' and row['step'] == '30'
    }

    def spread_of(label: str) -> str:
        row = last[label]
        return f'{float(row["mean"]):.1f} ± {float(row["standard deviation"]):.1f}'

    def mean_of(label: str) -> str:
        gaps = [row for row in rows_of('correlation') if row['label'] == label]
        return f'{sum(float(row["difference"]) for row in gaps) / len(gaps):.2f}'

    statements = [
        f'a plain student gets {float(plain["accuracy, %"]):.0f} % of them right, '
        f'its teacher {float(teacher["accuracy, %"]):.0f} %',
        f'{spread_of("plain student")} for the plain students, '
        f'{spread_of("DHKD student")} for DHKD',
        f'in tau: {float(plain["tau"]):.2f} against {float(distilled["tau"]):.2f}',
        f'The mean is {mean_of("plain student")} for the plain student and '
        f'{mean_of("DHKD student")} for DHKD',
    ]
    for statement in statements:
        assert statement in prose
        prose = prose.replace(statement, '')
    # The largest value of NC2 is mathematics.
    without_links = re.sub(r'\[[^]]*\]\([^)]*\)', '', prose)
    assert set(re.findall(r'\d+\.\d+', without_links)) == {'1.41'}


def test_lead_of_dhkd_in_the_curves() -> None:
    """Ahead at epoch 5, behind at 10, ahead at 15 beyond the bands; less at the end."""
    found = {
        (row['label'], row['step']): (
            float(row['mean']),
            float(row['standard deviation'] or 0),
        )
        for row in rows_of('curves')
        if row['key'] == 'accuracy/top1'
    }
    lead, bands = (
        {
            step: combine(found['DHKD student', step], found['plain student', step])
            for step in ('5', '10', '15', '30')
        }
        for combine in (lambda a, b: a[0] - b[0], lambda a, b: a[1] + b[1])
    )
    assert lead['5'] > 0 > lead['10']
    assert lead['15'] > bands['15'] and lead['15'] > lead['30']
    assert 0 < lead['30'] < bands['30']


def test_prose_of_the_ranking() -> None:
    """What the README of Kendall's tau says of the gradient."""
    readme = ROOT / 'configs' / 'kd_kendall-tau' / 'README.md'
    text = ' '.join(readme.read_text().split())
    shares: dict[str, list[float]] = {}
    for row in rows_of('ranking'):
        shares.setdefault(row['gradient'], []).append(float(row['share']))
    of_kd = [v for k, v in shares.items() if k.startswith('KD,')]
    of_tau = [v for k, v in shares.items() if not k.startswith('KD,')]
    assert len(of_kd) == len(of_tau) == 2
    given = re.search(r'KD spends (\d+)% of its gradient on the first class', text)
    assert given is not None
    assert {f'{100 * share[0]:.0f}' for share in of_kd} == {given[1]}
    assert max(share[0] for share in of_tau) < 0.001
    assert '90% or more on the ranks 3 to 9' in text
    assert min(sum(share[2:9]) for share in of_tau) >= 0.9
