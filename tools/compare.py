"""Train the rows of a suite on several seeds, and write the table.

A suite is a file in configs/suites, or the configs after --configs. Finished runs are
not trained again; interrupted runs are resumed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from mmkd_logit.arguments import KeyValues, Parser, parse_value
from mmkd_logit.entry_point import resumable, run_tool

if TYPE_CHECKING:
    from mmkd_logit.suites import Report, Run, Suite


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    what = parser.add_argument_group('what to compare')
    which = what.add_mutually_exclusive_group(required=True)
    which.add_argument('suite', nargs='?', help='a file, or a name in configs/suites')
    which.add_argument('--configs', nargs='+', metavar='CONFIG', help='one row each')
    what.add_argument('--seeds', nargs='+', type=int, metavar='SEED')
    what.add_argument('--metric', help='its name in the log, such as accuracy/top1')
    what.add_argument('--baseline', metavar='ROW', help='row to compare with')
    what.add_argument(
        '--sweep',
        nargs='+',
        default=[],
        metavar='KEY=VALUE,VALUE',
        help='make a row for each value of a setting, such as '
        'model.losses.dhkd.loss_weight=0.1,0.3,1',
    )
    what.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        default={},
        metavar='KEY=VALUE',
        help='override settings of all configs, as train.py does',
    )
    what.add_argument(
        '--cache-teacher',
        type=int,
        metavar='V',
        help="store each teacher's logits once, for V views of each image, and use "
        'them in all rows that distil it',
    )
    where = parser.add_argument_group('where to run')
    where.add_argument(
        '--jobs',
        type=int,
        metavar='N',
        help='maximum number of runs at a time; defaults to as many as there are '
        'cores for their threads, or GPUs',
    )
    where.add_argument(
        '--threads',
        type=int,
        default=1,
        metavar='N',
        help='CPU threads per run, on which its numbers depend; defaults to 1',
    )
    where.add_argument(
        '--gpus', default='', metavar='0,1,...', help='GPUs to use, one per run'
    )
    where.add_argument('--gpus-per-job', type=int, default=1, metavar='N')
    where.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/compare'),
        help='folder of the runs, shared by suites; defaults to work_dirs/compare',
    )
    where.add_argument(
        '--out', type=Path, help='folder of the tables; defaults to that of the runs'
    )
    parser.add_argument(
        '--curves',
        nargs='*',
        metavar='KEY',
        help='also draw logged values over training, such as "grad_cos/*"; the '
        'validation metrics if none is named',
    )
    parser.add_argument(
        '--restart',
        action='store_true',
        help='if a work dir holds a run of another config, seed or version, rename it '
        'and train again',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='only list what would run'
    )
    return parser.parse_args(argv)


def read_choices(sweeps: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values that ``--sweep`` names, by key."""
    choices: dict[str, list[Any]] = {}
    for sweep in sweeps:
        key, _, values = sweep.partition('=')
        if not values:
            raise ValueError(f'--sweep {sweep}: write KEY=VALUE,VALUE.')
        choices[key] = [parse_value(text) for text in values.split(',')]
    return choices


def read_arguments(args: argparse.Namespace) -> Suite:
    """Read the suite, and apply the command line's changes."""
    from mmkd_logit.suites import read_suite, suite_of_configs

    suite = read_suite(args.suite) if args.suite else suite_of_configs(args.configs)
    for name in ('seeds', 'metric', 'baseline'):
        if getattr(args, name) is not None:
            suite = replace(suite, **{name: getattr(args, name)})
    if args.sweep:
        suite = suite.sweep(read_choices(args.sweep))
    suite = suite.with_options(args.cfg_options)
    views = args.cache_teacher
    return suite if views is None else suite.with_views(views)


def settle_conflicts(runs: Sequence[Run], restart: bool) -> None:
    """Raise for work dirs that hold a different run, or rename them."""
    for run in runs:
        difference = run.difference() if run.work_dir.is_dir() else ''
        if not difference:
            continue
        if not restart:
            raise ValueError(
                f'{run.work_dir} holds another run than {run.name} is now: '
                f'{difference}. Use --restart to rename it and train again, or another '
                '--work-dir.'
            )
        print(f'{run.work_dir} is now {run.move_aside()}')


def list_runs(runs: Sequence[Run], jobs: int) -> None:
    """Print what would run, and how long it would take."""
    seconds: dict[Path, list[float]] = {}
    for run in runs:
        if run.done:
            seconds.setdefault(run.work_dir.parent, []).append(run.record()['seconds'])
    every = [each for alike in seconds.values() for each in alike]
    rest = [run for run in runs if not run.done]
    total = 0.0
    for run in rest:
        known = seconds.get(run.work_dir.parent) or every
        total += mean(known) if known else 0.0
        state = 'resumes' if run.record() else 'new'
        if run.work_dir.is_dir() and run.difference():
            state = 'needs --restart: the work dir holds another run'
        about = f', about {mean(known):.0f} s' if known else ''
        print(f'{run.name}: {state}{about}, in {run.work_dir}')
    about = f'about {total / 60 / jobs:.1f} minutes with {jobs} at a time'
    unknown = 'no run is done yet that would tell the time'
    print(f'{len(rest)} of {len(runs)} runs to do; {about if every else unknown}')


def draw(
    report: Report,
    suite: Suite,
    runs: Sequence[Run],
    out: Path,
    curves: Sequence[str] | None,
) -> None:
    """Write the pictures, with one of curves if asked for."""
    from mmkd_logit.visualization import plot_curves, plot_seeds, read_curves, save

    results = {line.name: line.values('last') for line in report.lines}
    of_teacher = report.teacher.values('last') if report.teacher else []
    teacher = of_teacher[0] if of_teacher else None
    # If rows have their own baselines, no line marks 'no gain' for all.
    (baseline,) = report.baselines if len(report.baselines) == 1 else (None,)
    picture = plot_seeds(results, report.intervals(), report.metric, teacher, baseline)
    picture.savefig(out / 'table.png', dpi=110)
    if curves is None:
        return
    groups = {
        row.name: [run.log() for run in runs if run.row is row and run.done]
        for row in suite.rows
    }
    panels, rows = read_curves(groups, curves or None)
    save(plot_curves(panels), out / 'curves.png', rows)


def point_on(report: Report, runs: Sequence[Run], picture: Path) -> None:
    """Print which student is the best, where its files are, and what to run next."""
    from mmkd_logit.apis import next_steps

    best = report.best_student({run.row.name for run in runs if not run.is_teacher})
    if best is None:
        return
    line, seed = best
    run = next(r for r in runs if (r.row.name, r.seed) == (line.name, seed))
    student = run.work_dir / 'student_last.pth'
    weights = student if student.is_file() else run.checkpoint()
    if weights is None:
        return
    steps = next_steps(
        tools=Path(sys.argv[0]).parent,
        config=run.work_dir / Path(run.row.config).name,
        weights=weights,
        log=run.work_dir / 'compare.log',
        picture=picture,
    )
    print(
        f'the best student: {line.name}, seed {seed}, {report.metric} '
        f'{line.results[seed].last:.2f} (over {len(line.results)} seeds: '
        f'{mean(line.values("last")):.2f})\n{steps}'
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import torch
    from rich.console import Console
    from rich.table import Table

    from mmkd_logit.suites import (
        Report,
        StoreRun,
        data_to_make,
        make_slots,
        plan_runs,
        prepare_data,
        train_all,
    )

    gpus = [gpu for gpu in args.gpus.split(',') if gpu]
    if gpus and not torch.cuda.is_available():
        raise ValueError(f'--gpus {args.gpus}: torch sees no GPU on this machine.')
    slots = make_slots(args.jobs, args.threads, gpus, args.gpus_per_job)
    suite = read_arguments(args)
    if not args.dry_run:
        prepare_data(suite)
    suite.check(lists_only=args.dry_run)
    stored = args.cache_teacher is not None
    runs = plan_runs(suite, args.work_dir, args.threads, stored)
    trained = [run.row for run in runs if run.is_teacher]
    for teacher in suite.teachers:
        if teacher not in trained:
            print(f'{teacher.name} is not trained: its students have a checkpoint')
    if args.dry_run:
        for folder, command in data_to_make(suite).items():
            print(f'{folder}: made first, by {" ".join(command[1:])}')
        list_runs(runs, len(slots))
        return 0
    settle_conflicts(runs, args.restart)
    # Avoid cutting lines that go to a file.
    console = Console(width=None if sys.stdout.isatty() else 120)
    with resumable(lambda: 'Stopped. The same command continues from here.'):
        failures = train_all(runs, slots, suite.metric, console)
    runs = [run for run in runs if not isinstance(run, StoreRun)]
    report = Report.of_runs(suite, runs, args.threads)
    out = args.out or args.work_dir / suite.name
    report.write(out)
    if any(line.results for line in report.lines):
        draw(report, suite, runs, out, args.curves)
    head, *rows = report.table()
    table = Table(*head, title=f'{suite.name}: {suite.metric}, %')
    for cells in rows:
        table.add_row(*cells)
    console.print(table)
    several = any(row.baseline for row in suite.rows)
    baseline = 'the baseline of its row' if several else repr(suite.baseline)
    print(
        f'difference from {baseline}, of the last values, with a 95% interval, '
        f'paired by seed\nwritten to {out}'
    )
    if len(slots) > 1:
        print(f'times: with up to {len(slots)} runs at a time; do not compare them')
    point_on(report, runs, out / 'table.png')
    if report.sources:
        print(f'published: {", ".join(report.sources)}')
    for name, reason in failures.items():
        print(f'\nfailed: {name}: {reason}', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    run_tool(main)
