"""The main job on a small scale: a teacher, a plain student, a DHKD student.

Runs tools/train.py for each, the students on three seeds, in work_dirs, and prints how
good they are on the test set. `digits` are scikit-learn's handwritten digits, `scenes`
street-like scenes that are drawn into data/scenes first.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)


@dataclass
class Demo:
    """Configs of the three, without configs/ and .py, and the metric in percent."""

    teacher: str
    student: str
    distilled: str
    metric: str
    data: tuple[str, ...] = ()


DEMOS = {
    'digits': Demo(
        teacher='baseline/res20_digits',
        student='baseline/res8_digits',
        distilled='dhkd/res20_res8_digits',
        metric='accuracy/top1',
    ),
    'scenes': Demo(
        teacher='baseline/fcn-r18w16_scenes',
        student='baseline/fcn-r18w4_scenes',
        distilled='dhkd/fcn-r18w16_fcn-r18w4_scenes',
        metric='mIoU',
        data=('tools/dataset_converters/make_scenes.py', 'data/scenes'),
    ),
}


def run(script: str, *args: str) -> None:
    """Run a script of this repository; stop with its output if it fails."""
    command = [sys.executable, str(ROOT / script), *args]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f'{result.stdout}{result.stderr}\nfailed: {" ".join(command)}')


def train(config: str, seed: int, work_dir: Path, metric: str) -> float:
    """Train one model; return its metric after the last step."""
    print(f'{config}, seed {seed}: logs and checkpoints in {work_dir}', flush=True)
    run(
        'tools/train.py',
        str(ROOT / 'configs' / f'{config}.py'),
        *('--work-dir', str(work_dir)),
        *('--cfg-options', f'randomness.seed={seed}'),
    )
    scalars = max(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [log[metric] for log in map(json.loads, scalars) if metric in log][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('demo', choices=DEMOS)
    demo = DEMOS[parser.parse_args().demo]
    if demo.data:
        run(*demo.data)
    work_dirs = Path('work_dirs')
    table = Table('model', f'{demo.metric} on the test set, %', 'seeds 0, 1, 2')
    # The student's config looks for the teacher where train.py puts it.
    teacher = train(demo.teacher, 0, work_dirs / demo.teacher, demo.metric)
    table.add_row('teacher', f'{teacher:.2f}')
    for name, config in (
        ('plain student', demo.student),
        ('DHKD student', demo.distilled),
    ):
        runs = [
            train(config, seed, work_dirs / f'{config}_seed{seed}', demo.metric)
            for seed in SEEDS
        ]
        each = '  '.join(f'{value:.2f}' for value in runs)
        table.add_row(name, f'{mean(runs):.2f} ± {stdev(runs):.2f}', each)
    Console().print(table)


if __name__ == '__main__':
    main()
