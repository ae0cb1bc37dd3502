"""The numbers of the table against their definitions."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scripted_runs import write_run

from mmkd_logit.suites import Report, Row, Suite, plan_runs
from mmkd_logit.suites.report import Line, Result

PAIRS = {'teacher t': 78.0, 'a': 70.0, 'KD, a': 73.0, 'b': 71.0, 'KD, b': 76.0}
VALUES = {'plain': [70.0, 72.0, 71.0], 'KD': [72.5, 73.0, 74.5]}


def make_report(values: dict[str, list[float]] = VALUES) -> Report:
    lines = [
        Line(name, f'{name}.py', {}, {s: Result({1: v + 5, 2: v}) for s, v in seeds})
        for name, seeds in ((name, enumerate(each)) for name, each in values.items())
    ]
    return Report('mine', 'accuracy/top1', 'plain', lines)


def test_differences_are_paired_by_seed() -> None:
    report = make_report()
    plain, kd = report.lines
    assert report.difference(plain) is None
    got = report.difference(kd)
    assert got is not None
    gaps = np.subtract(VALUES['KD'], VALUES['plain'])
    assert got[0] == pytest.approx(gaps.mean())
    low, high = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    assert (got[0] - got[1], got[0] + got[1]) == pytest.approx((low, high))
    # Only seeds that both have.
    few = Line('KD', 'KD.py', {}, {2: Result({1: 74.5}), 9: Result({1: 0.0})})
    single = report.difference(few)
    assert single is not None
    assert single[0] == 3.5 and math.isnan(single[1])
    assert report.difference(Line('KD', 'KD.py')) is None


def test_intervals_of_means() -> None:
    low, high = make_report().intervals()['plain']
    values = VALUES['plain']
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert make_report({'plain': [1.0]}).intervals() == {}


def test_the_best_student() -> None:
    values = {
        'plain': [73.0, 73.0, 74.0],
        'KD': VALUES['KD'],
        'teacher': [80.0],
        'lucky': [75.0, 60.0, 61.0],
        'none': [],
    }
    report = make_report(values)
    best = report.best_student({'plain', 'KD', 'lucky', 'none'})
    assert best is not None
    assert (best[0].name, best[1]) == ('KD', 2)
    assert best[0].results[best[1]].last == 74.5
    assert report.best_student({'none'}) is None


def test_tables() -> None:
    report = make_report()
    head, plain, kd = report.table()
    assert head[1:5] == ['last', 'best', 'difference', 'seeds']
    assert plain[:5] == ['plain', '71.00 ± 1.00', '76.00 ± 1.00', '', '3']
    assert kd[:3] == ['KD', '73.33 ± 1.04', '78.33 ± 1.04']
    assert kd[3] == '+2.33 ± 3.13'
    lines = report.markdown().splitlines()
    assert lines[0].startswith('|  | last | best |')
    assert set(lines[1]) <= set('|-: ')
    assert '73.33 ± 1.04' in lines[3]
    latex = report.latex()
    assert r'KD & 73.33 $\pm$ 1.04 & 78.33 $\pm$ 1.04 & +2.33 $\pm$ 3.13 \\' in latex
    assert report.csv().splitlines()[1] == 'plain,0,70.0,75.0,'
    assert make_report({'plain': []}).table()[1][1] == '-'


def make_report_of_pairs() -> Report:
    """Two pairs: teachers, each plain student, and KD beside the right one."""
    results = {name: {0: Result({1: value})} for name, value in PAIRS.items()}
    others = {
        'teacher t': dict(last=79.42, source='x'),
        'KD, a': dict(best=73.3, source='y'),
        'KD, b': dict(value=77, source='x'),
    }
    lines = [
        Line(
            name,
            'c.py',
            {},
            results[name],
            {'teacher t': 'teacher t', 'KD, a': 'a', 'KD, b': 'b'}.get(name),
            others.get(name),
        )
        for name in PAIRS
    ]
    return Report('pairs', 'accuracy/top1', 'a', lines)


def test_pairs_have_their_own_baselines() -> None:
    report = make_report_of_pairs()
    gaps = {line.name: report.difference(line) for line in report.lines}
    assert [name for name, gap in gaps.items() if gap is not None] == ['KD, a', 'KD, b']
    assert gaps['KD, a'] is not None and gaps['KD, a'][0] == 3.0
    assert gaps['KD, b'] is not None and gaps['KD, b'][0] == 5.0


def test_published_numbers() -> None:
    report = make_report_of_pairs()
    assert report.sources == ['x', 'y']
    head, *rows = report.table()
    assert head[1:6] == ['last', 'best', 'published', 'difference', 'seeds']
    assert [row[3] for row in rows] == [
        '79.42 (last)',
        '',
        '73.30 (best)',
        '',
        '77.00',
    ]
    assert '| KD, a | 73.00 | 73.00 | 73.30 (best) | +3.00 | 1 |' in report.markdown()
    assert report.markdown(times=False).startswith('|  | last | best | published | d')
    latex = report.latex()
    assert r'\begin{tabular}{lcccc}' in latex
    assert r'KD, a & 73.00 & 73.00 & 73.30 (best) & +3.00 \\' in latex
    csv = report.csv().splitlines()
    assert csv[0] == 'row,seed,last,best,step_seconds,published,published_is'
    assert csv[3] == '"KD, a",0,73.0,73.0,,73.3,best'
    assert csv[4:] == ['b,0,71.0,71.0,,,', '"KD, b",0,76.0,76.0,,77,']
    # Without published numbers nothing tells of them.
    assert 'published' not in ''.join(make_report().table()[0])
    assert 'published' not in make_report().csv()


@pytest.mark.parametrize('make', [make_report, make_report_of_pairs])
def test_json_makes_the_report_again(make: Callable[[], Report]) -> None:
    report = make()
    assert Report.from_json(report.json()) == report


def test_a_report_of_runs(config: Path, distiller: Path, tmp_path: Path) -> None:
    rows = [Row('plain', config), Row('KD', distiller)]
    suite = Suite(
        'mine', rows, [0, 1], 'accuracy/top1', 'plain', Row('teacher', config)
    )
    runs = plan_runs(suite, tmp_path / 'runs')
    for run, value in zip(runs, (80.0, 70.0, 71.0, 75.0)):
        if not run.work_dir.exists():  # teacher and plain student are one here
            write_run(run, {1: value + 1, 3: value})
    report = Report.of_runs(suite, runs, threads=1)
    assert report.teacher is not None
    assert report.teacher.values('last') == [80.0]
    plain, kd = report.lines
    assert plain.values('last') == [80.0, 71.0]
    assert kd.results[0] == Result({1: 76.0, 3: 75.0}, 0.5, 5.0, 12.5, 'abc')
    assert list(kd.results) == [0]  # the other is not done
    assert report.made_with['threads'] == 1
    assert report.made_with['versions']['mmkd_logit']
    report.write(tmp_path / 'out')
    files = ['results.json', 'table.csv', 'table.md', 'table.tex']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == files


def test_a_report_of_pairs(config: Path, distiller: Path, tmp_path: Path) -> None:
    """A teacher that was trained, and one whose file its student names."""
    other = {'optim_wrapper.optimizer.lr': 0.2}
    trained, given = Row('teacher a', config, other), Row('teacher b', config)
    file = {'model.teacher.checkpoint': 'x.pth'}
    rows = [
        Row('plain', config, published=dict(last=69.0, source='x')),
        Row('KD, a', distiller, teacher=trained, baseline='plain'),
        Row('KD, b', distiller, file, teacher=given, baseline='plain'),
    ]
    suite = Suite('mine', rows, [0], 'accuracy/top1', 'plain')
    runs = plan_runs(suite, tmp_path / 'runs')
    for value, run in enumerate(runs, 70):
        write_run(run, {3: float(value)})
    log = runs[-1].work_dir / '1' / 'vis_data' / 'scalars.json'
    log.write_text('{"teacher/accuracy/top1": 79.0, "step": 0}\n' + log.read_text())
    report = Report.of_runs(suite, runs, threads=1)
    assert report.teacher is None
    values = {line.name: line.values('last') for line in report.lines}
    assert values == {
        'teacher a': [70.0],
        'teacher b': [79.0],
        'plain': [71.0],
        'KD, a': [72.0],
        'KD, b': [73.0],
    }
    assert [row[4] for row in report.table()[1:]] == ['', '', '', '+1.00', '+2.00']


def test_teachers_that_differ_are_not_one(make_run: Callable) -> None:
    """As on ImageNet, where the configs name files of torchvision and OpenMMLab."""
    runs = [make_run('a'), make_run('b')]
    for run in runs:
        run.made_from = {'model.teacher.checkpoint': f'https://x/{run.row.name}.pth'}
        write_run(run, {3: 50.0})
        log = run.work_dir / '1' / 'vis_data' / 'scalars.json'
        log.write_text('{"teacher/accuracy/top1": 73, "step": 0}\n' + log.read_text())
    suite = Suite('m', [run.row for run in runs], [0], 'accuracy/top1', 'a')
    assert Report.of_runs(suite, runs, 1).teacher is None
    assert Report.of_runs(suite, runs[:1], 1).teacher is not None


def test_a_metric_that_was_not_logged(make_run: Callable, config: Path) -> None:
    run = make_run('a')
    write_run(run, {3: 50.0})
    suite = Suite('mine', [run.row], [0], 'mIoU', 'a')
    with pytest.raises(KeyError, match=r"not logged 'mIoU', only accuracy/top1"):
        Report.of_runs(suite, [run], threads=1)


def test_the_teacher_of_a_check(make_run: Callable) -> None:
    run = make_run('a')
    write_run(run, {3: 50.0})
    log = run.work_dir / '1' / 'vis_data' / 'scalars.json'
    log.write_text('{"teacher/accuracy/top1": 73.3, "step": 0}\n' + log.read_text())
    report = Report.of_runs(Suite('m', [run.row], [0], 'accuracy/top1', 'a'), [run], 1)
    assert report.teacher is not None
    assert report.teacher.values('last') == [73.3]
