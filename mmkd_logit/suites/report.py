"""The result table of a suite, in the formats for papers and programs."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t as student_t

from mmkd_logit.compat import shipped_folder
from mmkd_logit.suites.run import Run
from mmkd_logit.suites.suite import CHECKPOINT, Row, Suite

_PACKAGES = ('mmkd_logit', 'torch', 'mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation')


@dataclass(frozen=True)
class Result:
    """Result of one run.

    Attributes:
        curve (dict[int, float]): The metric by epoch or iteration.
        step_seconds (float, optional): Median time of a step.
        epoch_seconds (float, optional): Time of an epoch's steps.
        seconds (float, optional): Total time, including start and validation.
        commit (str, optional): Commit of this package's repository.
    """

    curve: Mapping[int, float]
    step_seconds: float | None = None
    epoch_seconds: float | None = None
    seconds: float | None = None
    commit: str | None = None

    @property
    def last(self) -> float:
        """The metric at the end."""
        return self.curve[max(self.curve)]

    @property
    def best(self) -> float:
        """The largest of all validations: optimistic, as it is selected on them."""
        return max(self.curve.values())


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        name (str): Its name.
        config (str): Its config, below ``configs`` if it is one of ours.
        options (dict[str, Any]): What it overrides.
        results (dict[int, Result]): Results by seed, of the runs that are done.
        baseline (str, optional): Name of the line that it is compared with, instead of
            the report's.
        published (dict[str, Any], optional): A published number, ``best``, ``last`` or
            ``value``, and its ``source``.
    """

    name: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[int, Result] = field(default_factory=dict)
    baseline: str | None = None
    published: Mapping[str, Any] | None = None

    def values(self, which: str) -> list[float]:
        """Return the last or the best metric of each seed."""
        return [getattr(result, which) for result in self.results.values()]

    def published_number(self) -> tuple[float | None, str]:
        """Return the published number, and whether it is 'best' or 'last', if known."""
        for kind, value in (self.published or {}).items():
            if kind != 'source':
                return value, kind.removeprefix('value')
        return None, ''


@dataclass(frozen=True)
class Report:
    """A table of results.

    Attributes:
        suite (str): Name of the suite.
        metric (str): The metric that is compared.
        baseline (str): Name of the line that others are compared with.
        lines (list[Line]): The rows, preceded by the teachers that rows name.
        teacher (Line, optional): The teacher of all rows.
        made_with (dict[str, Any]): Versions, hardware and threads.
    """

    suite: str
    metric: str
    baseline: str
    lines: Sequence[Line]
    teacher: Line | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_runs(cls, suite: Suite, runs: Sequence[Run], threads: int) -> Report:
        """Collect the logged results of runs.

        Args:
            suite (Suite): The suite.
            runs (list[Run]): Its runs. Those that are not done are left out.
            threads (int): Number of CPU threads per run.

        Returns:
            Report: The table.

        Raises:
            KeyError: If a run has not logged the metric.
        """
        done = [run for run in runs if run.done]

        def line(row: Row) -> Line:
            results = {
                run.seed: read_result(run, suite.metric)
                for run in done
                if run.row.name == row.name and not run.is_teacher
            }
            return _line_of(row, results)

        def line_of_teacher(teacher: Row) -> Line:
            for run in done:
                if run.is_teacher and run.row.name == teacher.name:
                    return _line_of(teacher, {0: read_result(run, suite.metric)})
            students = [r for r in done if (r.row.teacher or suite.teacher) == teacher]
            return _line_of(teacher, _teacher_in_logs(suite.metric, students))

        own = [line_of_teacher(row) for row in suite.teachers if row != suite.teacher]
        lines = [
            *(replace(each, baseline=each.name) for each in own),
            *(line(row) for row in suite.rows),
        ]
        teacher = None
        if suite.teacher is not None:
            teacher = line_of_teacher(suite.teacher)
        elif not own:
            rows = [run for run in done if not run.is_teacher]
            results = _teacher_in_logs(suite.metric, rows)
            teacher = Line('teacher', '', {}, results) if results else None
        made_with = {'threads': threads, **hardware(), 'versions': _versions()}
        return cls(suite.name, suite.metric, suite.baseline, lines, teacher, made_with)

    @property
    def all_lines(self) -> list[Line]:
        """All lines, preceded by the teacher of all rows if there is one."""
        return [*([self.teacher] if self.teacher else []), *self.lines]

    @property
    def baselines(self) -> set[str]:
        """Names of all lines that others are compared with."""
        return {line.baseline or self.baseline for line in self.lines}

    @property
    def sources(self) -> list[str]:
        """Sources of the published numbers, each once; empty if there are none."""
        found = [x.published['source'] for x in self.all_lines if x.published]
        return list(dict.fromkeys(found))

    def difference(self, line: Line) -> tuple[float, float] | None:
        """Return the mean difference of last values from the baseline, by shared seed.

        Args:
            line (Line): A row.

        Returns:
            tuple[float, float] | None: The mean, and half the length of its 95%
            interval (Student's t, paired by seed), NaN for a single seed. None for a
            baseline itself, or without a shared seed.
        """
        name = line.baseline or self.baseline
        base = next(each for each in self.lines if each.name == name)
        seeds = [seed for seed in line.results if seed in base.results]
        if line.name in self.baselines or not seeds:
            return None
        gaps = [line.results[s].last - base.results[s].last for s in seeds]
        return mean(gaps), _half_interval(gaps)

    def best_student(self, students: Collection[str]) -> tuple[Line, int] | None:
        """Return the row with the largest mean of last values, and its best seed.

        Args:
            students (Collection[str]): Names of the rows to choose from.

        Returns:
            tuple[Line, int] | None: None if none of them is done.
        """
        done = [x for x in self.lines if x.results and x.name in students]
        if not done:
            return None
        # Of equal rows the last one: the first is usually the plain student.
        best = max(reversed(done), key=lambda line: mean(line.values('last')))
        return best, max(best.results, key=lambda seed: best.results[seed].last)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95% interval of the mean, for rows with two or more seeds."""
        found = {}
        for line in self.lines:
            values = line.values('last')
            if len(values) > 1:
                half = _half_interval(values)
                found[line.name] = mean(values) - half, mean(values) + half
        return found

    def table(self) -> list[list[str]]:
        """Return the cells, starting with the row of column names."""
        published = ['published'] if self.sources else []
        head = ['', 'last', 'best', *published, 'difference', 'seeds']
        times = ['ms per step', 's per epoch']
        return [[*head, *times], *(self._cells(line) for line in self.all_lines)]

    def _cells(self, line: Line) -> list[str]:
        gap = None if line is self.teacher else self.difference(line)
        difference = ''
        if gap is not None:
            width = '' if math.isnan(gap[1]) else f' ± {gap[1]:.2f}'
            difference = f'{gap[0]:+.2f}{width}'
        results = list(line.results.values())
        return [
            line.name,
            spread(line.values('last')),
            spread(line.values('best')),
            *([_published(line)] if self.sources else []),
            difference,
            str(len(line.results)),
            _mean_of([r.step_seconds for r in results], 1000),
            _mean_of([r.epoch_seconds for r in results], 1),
        ]

    def markdown(self, times: bool = True) -> str:
        """Return the table for a README.

        Args:
            times (bool): Whether to include the last two columns. Defaults to True.

        Returns:
            str: The table in Markdown.
        """
        head, *rows = (cells if times else cells[:-2] for cells in self.table())
        rule = ['---', *('---:' for _ in head[1:])]
        lines = [' | '.join(cells) for cells in (head, rule, *rows)]
        return ''.join(f'| {line} |\n' for line in lines)

    def latex(self) -> str:
        """Return the table for a paper, with booktabs and without times."""
        head, *rows = self.table()
        cells_of_all = [cells[:-3] for cells in (head, *rows)]
        body = [' & '.join(_tex(cell) for cell in cells) for cells in cells_of_all]
        lines = [
            rf'\begin{{tabular}}{{l{"c" * (len(head) - 4)}}}',
            r'\toprule',
            rf'{body[0]} \\',
            r'\midrule',
            *(rf'{each} \\' for each in body[1:]),
            r'\bottomrule',
            r'\end{tabular}',
        ]
        return '\n'.join(lines) + '\n'

    def csv(self) -> str:
        """Return the results as CSV, with a line per row and seed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        published = ['published', 'published_is'] if self.sources else []
        writer.writerow(['row', 'seed', 'last', 'best', 'step_seconds', *published])
        for line in self.all_lines:
            for seed, result in line.results.items():
                step = result.step_seconds
                cells = [line.name, seed, result.last, result.best, step]
                others = line.published_number() if published else ()
                writer.writerow([*cells, *others])
        return text.getvalue()

    def json(self) -> str:
        """Return the whole report as JSON, to be read by :meth:`from_json`."""

        def plain(line: Line) -> dict[str, Any]:
            results = {str(s): vars(result) for s, result in line.results.items()}
            return {**vars(line), 'options': dict(line.options), 'results': results}

        content = {
            **vars(self),
            'lines': [plain(line) for line in self.lines],
            'teacher': self.teacher and plain(self.teacher),
        }
        return json.dumps(content, indent=1) + '\n'

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report written by :meth:`json`."""

        def line(content: Mapping[str, Any]) -> Line:
            results = {}
            for seed, result in content['results'].items():
                curve = {int(step): v for step, v in result['curve'].items()}
                results[int(seed)] = Result(**{**result, 'curve': curve})
            return Line(**{**content, 'results': results})

        content = json.loads(text)
        lines = [line(each) for each in content['lines']]
        teacher = content['teacher'] and line(content['teacher'])
        return cls(**{**content, 'lines': lines, 'teacher': teacher})

    def write(self, folder: Path) -> None:
        """Write ``table.md``, ``table.tex``, ``table.csv`` and ``results.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'table.md').write_text(self.markdown())
        (folder / 'table.tex').write_text(self.latex())
        (folder / 'table.csv').write_text(self.csv())
        (folder / 'results.json').write_text(self.json())


def read_result(run: Run, metric: str) -> Result:
    """Read the result of a run from its log.

    Args:
        run (Run): A run that is done.
        metric (str): Name of the metric, as it is logged.

    Returns:
        Result: Curve and times.

    Raises:
        KeyError: If it has not logged the metric. The message lists what it has.
    """
    log = run.log()
    if metric not in log.keys:
        raise KeyError(
            f'{run.name} has not logged {metric!r}, only {", ".join(log.metrics)}.'
        )
    record, step, steps = run.record(), log.step_seconds, log.steps_per_epoch
    return Result(
        log.points(metric),
        step,
        step * steps if step and steps else None,
        record.get('seconds'),
        record.get('commit'),
    )


def spread(values: Sequence[float]) -> str:
    """Format mean and standard deviation for a table; a dash if there are no values."""
    if not values:
        return '-'
    deviation = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
    return f'{mean(values):.2f}{deviation}'


def _half_interval(values: Sequence[float]) -> float:
    """Return half the length of the 95% interval of a mean; NaN for a single value."""
    count = len(values)
    if count == 1:
        return math.nan
    return student_t.ppf(0.975, count - 1) * stdev(values) / math.sqrt(count)


def _mean_of(values: Sequence[float | None], factor: float) -> str:
    known = [value for value in values if value is not None]
    return f'{factor * mean(known):.3g}' if known else ''


def _published(line: Line) -> str:
    number, kind = line.published_number()
    if number is None:
        return ''
    return f'{number:.2f} ({kind})' if kind else f'{number:.2f}'


def _teacher_in_logs(metric: str, students: Sequence[Run]) -> dict[int, Result]:
    """Return a teacher's result as measured by TeacherCheckHook, if not trained here.

    Empty if none was measured, or if students have different teachers.
    """
    teachers = {run.made_from.get(CHECKPOINT, '') for run in students} - {''}
    if len(teachers) > 1:
        return {}
    key = f'teacher/{metric}'
    for run in students:
        log = run.log()
        if key in log.keys:
            return {0: Result(log.points(key))}
    return {}


def _line_of(row: Row, results: Mapping[int, Result]) -> Line:
    config = _short(row.config)
    return Line(row.name, config, row.options, results, row.baseline, row.published)


def _short(config: Path) -> str:
    configs = shipped_folder('configs')
    is_ours = config.is_relative_to(configs)
    return str(config.relative_to(configs) if is_ours else config)


def _tex(text: str) -> str:
    for plain, escaped in (('&', r'\&'), ('_', r'\_'), ('%', r'\%'), ('±', r'$\pm$')):
        text = text.replace(plain, escaped)
    return text


def hardware() -> dict[str, Any]:
    """Return the processor, number of cores and GPUs of this machine."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        names = [line for line in lines if line.startswith('model name')]
        processor = names[0].partition(':')[2].strip() if names else processor
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {'processor': processor, 'cores': os.cpu_count(), 'gpus': gpus}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        for name in (package, f'onedl-{package}'):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found
