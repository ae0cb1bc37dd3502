"""A suite with stored teacher logits against the same suite with a live teacher.

compare.py trains six methods on three seeds of DigitPairs, once with --cache-teacher
and one view per epoch, once without. The teacher has twelve times the student's
parameters. A row gives the total time of the command from an empty folder: both train
the teacher, and one then stores its logits for all views. --quick only lists the runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL
from time import perf_counter

from measure import machine, parse_args
from rich.console import Console
from rich.table import Table
from step import CONFIGS

from mmkd_logit.entry_point import run_tool

METHODS = ('kd', 'dhkd', 'mcld', 'kd_kendall-tau', 'dkd', 'dist')
PAIR = 'res20_res8w8_digitpairs'
TEACHER = CONFIGS / 'baseline' / 'res20_digitpairs.py'
SEEDS, EPOCHS = 3, 40
COMPARE = CONFIGS.parent / 'tools' / 'compare.py'


def write_suite(path: Path) -> None:
    """Write a suite file with one row per method."""
    rows = {method: str(CONFIGS / method / f'{PAIR}.py') for method in METHODS}
    path.write_text(f'teacher = {str(TEACHER)!r}\nrows = {rows!r}\n')


def seconds(suite: Path, *arguments: str) -> float:
    """Train a suite in an empty folder, and return the time it took."""
    command = [sys.executable, str(COMPARE), str(suite), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        subprocess.run([*command, '--work-dir', folder], check=True, stdout=DEVNULL)
        return perf_counter() - start


def main() -> None:
    args = parse_args(__doc__)
    seeds = ['--seeds', *map(str, range(SEEDS))]
    more = [*seeds, '--dry-run'] if args.quick else seeds
    with tempfile.TemporaryDirectory() as scratch:
        suite = Path(scratch, 'methods.py')
        write_suite(suite)
        live = seconds(suite, *more)
        stored = seconds(suite, '--cache-teacher', str(EPOCHS), *more)
    table = Table(
        *('runs', 'views', 'live, s', 'stored, s', 'stored / live'),
        title=f'A suite; {machine(args.device)}',
    )
    table.add_row(
        *(str(len(METHODS) * SEEDS), str(EPOCHS), f'{live:.0f}', f'{stored:.0f}'),
        f'[bold]{stored / live:.2f}[/]',
    )
    Console(width=100).print(table)


if __name__ == '__main__':
    run_tool(main)
