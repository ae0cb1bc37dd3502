"""Experiments on a small scale, each from data to a table in one command.

`digits` (scikit-learn's handwritten digits) and `scenes` (street-like scenes that are
drawn into data/scenes first) are the main job: a teacher, a plain student, a DHKD
student. `mcld` is the ablation of MCLD's three terms on digits, without cross entropy,
beside KD. `heads` is DHKD's question on numbers of two digits: cross entropy and a
logit-level loss, alone, on one classifier and on two; it also draws the accuracy and
the cosines of the two gradients to work_dirs/heads.png.

Each runs tools/train.py, students on three seeds, in work_dirs, and prints how good the
models are on the test set.
"""

import argparse
import json
import re
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
class Student:
    """A row of the table: a config, without configs/ and .py, and what it overrides."""

    name: str
    config: str
    options: tuple[str, ...] = ()


@dataclass
class Demo:
    """The teacher's config, its students, and the metric in percent.

    A script with its arguments can make the data first. Logged values that are named by
    ``draw`` are drawn at the end.
    """

    teacher: str
    students: list[Student]
    metric: str
    data: tuple[str, ...] = ()
    draw: tuple[str, ...] = ()


def mcld_with(*terms: str) -> Student:
    """MCLD with some of its terms."""
    return Student(
        f'MCLD: {" + ".join(terms)}',
        'mcld/res20_res8_digits',
        tuple(
            f'model.losses.mcld.{term}={term in terms}'
            for term in ('instance', 'sample', 'category')
        ),
    )


# Once an epoch.
WATCH = (
    'default_hooks.conflict.type=mmkd_logit.GradientConflictHook',
    'default_hooks.conflict.interval=32',
)
ONE_HEAD = 'dhkd/res20_res8_digitpairs_single-head'
PLAIN_BINARY_KL = 'model.losses.binary_kl.type=BinaryKLLoss'

DEMOS = {
    'digits': Demo(
        teacher='baseline/res20_digits',
        students=[
            Student('plain student', 'baseline/res8_digits'),
            Student('DHKD student', 'dhkd/res20_res8_digits'),
        ],
        metric='accuracy/top1',
    ),
    'scenes': Demo(
        teacher='baseline/fcn-r18w16_scenes',
        students=[
            Student('plain student', 'baseline/fcn-r18w4_scenes'),
            Student('DHKD student', 'dhkd/fcn-r18w16_fcn-r18w4_scenes'),
        ],
        metric='mIoU',
        data=('tools/dataset_converters/make_scenes.py', 'data/scenes'),
    ),
    'mcld': Demo(
        teacher='baseline/res20_digits',
        students=[
            Student('plain student', 'baseline/res8_digits'),
            Student('KD', 'kd/res20_res8_digits'),
            mcld_with('instance'),
            mcld_with('sample'),
            mcld_with('category'),
            mcld_with('instance', 'sample'),
            mcld_with('instance', 'category'),
            mcld_with('sample', 'category'),
            mcld_with('instance', 'sample', 'category'),
        ],
        metric='accuracy/top1',
    ),
    'heads': Demo(
        teacher='baseline/res20_digitpairs',
        students=[
            Student('CE', 'baseline/res8_digitpairs'),
            Student(
                'BinaryKL', ONE_HEAD, (PLAIN_BINARY_KL, 'model.task_loss_weight=0.0')
            ),
            Student('CE + BinaryKL, one head', ONE_HEAD, (PLAIN_BINARY_KL, *WATCH)),
            Student('CE + BinaryKL-Norm, one head', ONE_HEAD, WATCH),
            Student(
                'CE + BinaryKL-Norm, two heads (DHKD)',
                'dhkd/res20_res8_digitpairs',
                WATCH,
            ),
        ],
        metric='accuracy/top1',
        draw=('accuracy/top1', 'grad_cos/classifier', 'grad_cos/backbone'),
    ),
}


def run(script: str, *args: str) -> None:
    """Run a script of this repository; stop with its output if it fails."""
    command = [sys.executable, str(ROOT / script), *args]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f'{result.stdout}{result.stderr}\nfailed: {" ".join(command)}')


def train(student: Student, seed: int, work_dir: Path, metric: str) -> float:
    """Train one model; return its metric after the last step."""
    print(f'{student.name}, seed {seed}: in {work_dir}', flush=True)
    run(
        'tools/train.py',
        str(ROOT / 'configs' / f'{student.config}.py'),
        *('--work-dir', str(work_dir), '--cfg-options', f'randomness.seed={seed}'),
        *student.options,
    )
    scalars = max(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [log[metric] for log in map(json.loads, scalars) if metric in log][-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('demo', choices=DEMOS)
    name = parser.parse_args().demo
    demo = DEMOS[name]
    if demo.data:
        run(*demo.data)
    work_dirs = Path('work_dirs')
    table = Table('model', f'{demo.metric} on the test set, %', 'seeds 0, 1, 2')
    # The students' configs look for the teacher where train.py puts it.
    teacher = Student('teacher', demo.teacher)
    reached = train(teacher, 0, work_dirs / demo.teacher, demo.metric)
    table.add_row('teacher', f'{reached:.2f}')
    groups = []
    for student in demo.students:
        folder = student.config
        if student.options:
            folder += '_' + '-'.join(re.findall(r'\w+', student.name.lower()))
        folders = [work_dirs / f'{folder}_seed{seed}' for seed in SEEDS]
        runs = [
            train(student, seed, work_dir, demo.metric)
            for seed, work_dir in zip(SEEDS, folders)
        ]
        groups += ['--run', student.name, *map(str, folders)]
        each = '  '.join(f'{value:.2f}' for value in runs)
        table.add_row(student.name, f'{mean(runs):.2f} ± {stdev(runs):.2f}', each)
    Console().print(table)
    if demo.draw:
        picture = str(work_dirs / f'{name}.png')
        run(
            'tools/analysis_tools/plot_curves.py',
            picture,
            *groups,
            '--keys',
            *demo.draw,
        )
        print(f'Drawn to {picture}')


if __name__ == '__main__':
    main()
