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


def test_json_makes_the_report_again() -> None:
    report = make_report()
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


def test_a_metric_that_was_not_logged(make_run: Callable, config: Path) -> None:
    run = make_run('a')
    write_run(run, {3: 50.0})
    suite = Suite('mine', [run.row], [0], 'mIoU', 'a')
    with pytest.raises(KeyError, match=r"not logged 'mIoU'. There is accuracy/top1"):
        Report.of_runs(suite, [run], threads=1)


def test_the_teacher_of_a_check(make_run: Callable) -> None:
    run = make_run('a')
    write_run(run, {3: 50.0})
    log = run.work_dir / '1' / 'vis_data' / 'scalars.json'
    log.write_text('{"teacher/accuracy/top1": 73.3, "step": 0}\n' + log.read_text())
    report = Report.of_runs(Suite('m', [run.row], [0], 'accuracy/top1', 'a'), [run], 1)
    assert report.teacher is not None
    assert report.teacher.values('last') == [73.3]
