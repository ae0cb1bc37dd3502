"""The main job on a small scale: teacher, plain student, DHKD student, on digits.

Runs tools/train.py for each, on three seeds for the students, in the work dir
work_dirs, and prints their accuracy on the test set.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)
TEACHER = 'baseline/res20_digits'
STUDENTS = {
    'plain student (resnet8)': 'baseline/res8_digits',
    'DHKD student (resnet8)': 'dhkd/res20_res8_digits',
}


def train(config: str, seed: int, work_dir: Path) -> float:
    """Train one model; return its top-1 accuracy in percent after the last epoch."""
    print(f'{config}, seed {seed}: logs and checkpoints in {work_dir}', flush=True)
    command = [
        *(sys.executable, str(ROOT / 'tools' / 'train.py')),
        str(ROOT / 'configs' / f'{config}.py'),
        *('--work-dir', str(work_dir)),
        *('--cfg-options', f'randomness.seed={seed}'),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f'{result.stdout}{result.stderr}\nfailed: {" ".join(command)}')
    scalars = max(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    accuracies = [
        log['accuracy/top1']
        for log in map(json.loads, scalars)
        if 'accuracy/top1' in log
    ]
    return accuracies[-1]


def main() -> None:
    work_dirs = Path('work_dirs')
    table = Table('model', 'top-1 on 500 test digits, %')
    # The student's config looks for the teacher where train.py puts it.
    table.add_row('teacher (resnet20)', f'{train(TEACHER, 0, work_dirs / TEACHER):.2f}')
    for name, config in STUDENTS.items():
        runs = [train(config, s, work_dirs / f'{config}_seed{s}') for s in SEEDS]
        each = ', '.join(f'{run:.1f}' for run in runs)
        table.add_row(name, f'{mean(runs):.2f} ± {stdev(runs):.2f}  ({each})')
    Console().print(table)


if __name__ == '__main__':
    main()
