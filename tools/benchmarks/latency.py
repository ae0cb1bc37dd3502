"""A student against its teacher: parameters, size of the ONNX file, and latency.

The student and the teacher of a distiller's config are exported to ONNX as by
tools/model_converters/export_onnx.py. Then four things run in turn in one process, on
the same normalized images on the CPU: each model in PyTorch, as it is, and in
onnxruntime. A table gives the medians over the rounds, and beside them the median of
the rounds' ratios student / teacher, with quartiles. The weights are random, which
affects neither sizes nor times.

Writes a JSON file, and the table as Markdown beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from measure import times
from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from mmkd_logit.apis import build_model, count_parameters
from mmkd_logit.apis.onnx import ExportedModel, export_onnx, session_of
from mmkd_logit.arguments import Parser, positive
from mmkd_logit.entry_point import run_tool
from mmkd_logit.models.teachers.sources.openmmlab import model_config
from mmkd_logit.registry import MODELS
from mmkd_logit.suites.report import hardware

ENGINES = {'torch': 'PyTorch', 'onnxruntime': 'onnxruntime'}


def json_path(text: str) -> Path:
    """Parse the path of the file to write."""
    path = Path(text)
    if path.suffix != '.json':
        raise argparse.ArgumentTypeError(f'{text!r} must end with .json')
    return path


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('config', help='config file of a distiller')
    parser.add_argument('out', type=json_path, help='the file to write, .json')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=positive,
        required=True,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the images',
    )
    parser.add_argument(
        '--batches',
        nargs='+',
        type=positive,
        default=[1, 32],
        metavar='N',
        help='batch sizes; defaults to 1 32',
    )
    parser.add_argument(
        '--rounds',
        type=positive,
        default=50,
        metavar='N',
        help='number of rounds, 2 or more; defaults to 50',
    )
    parser.add_argument(
        '--threads', type=positive, default=1, help='CPU threads; defaults to 1'
    )
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error('--rounds must be 2 or more.')
    return args


def models_of(config: str) -> dict[str, ExportedModel]:
    """Build the teacher and the student of a distiller, with random weights.

    Raises:
        ValueError: If the config has no single teacher of mmpretrain, mmseg or ours.
    """
    cfg = Config.fromfile(config)
    settings = cfg.model.get('teacher', {})
    one = {} if isinstance(settings, list) else settings
    what = one.get('config') or one.get('model')
    if what is None:
        raise ValueError(
            f'{config} must be the config of a distiller whose teacher is named by '
            f'config or model, but its teacher is {settings!r}.'
        )
    return {
        'student': ExportedModel(build_model(cfg)),
        'teacher': ExportedModel(MODELS.build(model_config(what))),
    }


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Export both, run all in turn, and collect the numbers."""
    torch.set_num_threads(args.threads)
    import onnxruntime

    models = models_of(args.config)
    shape = (models['student'].in_channels, *args.shape)
    found: dict[str, Any] = {
        'config': Path(args.config).as_posix().rpartition('configs/')[2],
        'shape': shape,
        'threads': args.threads,
        **hardware(),
        'rounds': args.rounds,
        'versions': {
            'torch': torch.__version__,
            'onnxruntime': onnxruntime.__version__,
        },
        'models': {},
        'latency': [],
    }
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(max(args.batches), *shape, generator=generator)
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models.items():
            file = Path(folder) / f'{name}.onnx'
            export_onnx(model, file, shape)
            sessions[name] = session_of(file)
            found['models'][name] = {
                'parameters': count_parameters(model.model),
                'bytes': file.stat().st_size,
            }
    for batch in track(args.batches, description='batches', transient=True):
        part = images[:batch]
        given = {'images': part.numpy()}
        work = [
            *(partial(model, part) for model in models.values()),
            *(partial(each.run, None, given) for each in sessions.values()),
        ]
        seconds = list(zip(*times(work, args.rounds, 'cpu')))
        for engine, (student, teacher) in zip(ENGINES, (seconds[:2], seconds[2:])):
            ratios = [s / t for s, t in zip(student, teacher)]
            found['latency'].append(
                {
                    'batch': batch,
                    'engine': engine,
                    'teacher_ms': 1000 * median(teacher),
                    'student_ms': 1000 * median(student),
                    'ratio': median(ratios),
                    'ratio_quartiles': quantiles(ratios, n=4, method='inclusive')[::2],
                }
            )
    return found


def markdown(found: dict[str, Any]) -> str:
    """Return the table: a column each for teacher, student and their ratio."""
    teacher, student = (found['models'][name] for name in ('teacher', 'student'))
    rows = [['', 'teacher', 'student', 'student / teacher']]
    for title, key, unit in (
        ('parameters, M', 'parameters', 1e6),
        ('ONNX file, MiB', 'bytes', 2**20),
    ):
        a, b = teacher[key], student[key]
        rows.append([title, f'{a / unit:.2f}', f'{b / unit:.2f}', f'{b / a:.2f}'])
    for each in found['latency']:
        images = 'image' if each['batch'] == 1 else 'images'
        low, high = each['ratio_quartiles']
        rows.append(
            [
                f'{each["batch"]} {images}, {ENGINES[each["engine"]]}, ms',
                f'{each["teacher_ms"]:.2f}',
                f'{each["student_ms"]:.2f}',
                f'{each["ratio"]:.2f} ({low:.2f} to {high:.2f})',
            ]
        )
    head, *body = rows
    lines = [head, ['---', '---:', '---:', '---:'], *body]
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


def main() -> None:
    args = parse_args()
    found = measure(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + '\n')
    table = args.out.with_suffix('.md')
    table.write_text(markdown(found))
    Console().print(markdown(found), markup=False)
    print(f'{args.out}, and the table in {table}')


if __name__ == '__main__':
    run_tool(main)
