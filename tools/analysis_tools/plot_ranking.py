"""Picture of how students rank the classes, compared with their teacher.

Left: which classes KD and Kendall's tau give gradient to, by their rank in the
teacher's probabilities. Right: KL divergence and Kendall's tau of each row. Each model
is the config of a distiller with a checkpoint, of it or of its plain student. The rows
are those of the test set.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor
from torch.nn.functional import interpolate

from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import MODELS
from mmkd_logit.visualization import plot_ranking

ROWS_PER_BATCH = 1000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='file of the picture, as out.png')
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('TITLE', 'CONFIG', 'CHECKPOINT'),
        help='can be given several times',
    )
    parser.add_argument(
        '--batches', type=int, default=10, help='how many of the test set; default: 10'
    )
    parser.add_argument(
        '--tau', type=float, default=4.0, help='temperature of KD; default: 4'
    )
    parser.add_argument(
        '--k',
        type=float,
        default=100.0,
        help="steepness of Kendall's tau; default: 100",
    )
    return parser.parse_args()


def collect_logits(cfg: Config, checkpoint: str, batches: int) -> tuple[Tensor, Tensor]:
    """Logits of student and teacher on the test set, shape (N, C) each."""
    init_default_scope(cfg.default_scope)
    model: LogitDistiller = MODELS.build(
        {'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model}
    )
    model.teacher.load(model.student)
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    model.eval()
    students: list[Tensor] = []
    teachers: list[Tensor] = []
    for batch in islice(Runner.build_dataloader(cfg.test_dataloader), batches):
        inputs = model.data_preprocessor(batch, False)['inputs']
        student, teacher = model(inputs), model.teacher(inputs)
        if student.ndim == 4:
            teacher = interpolate(teacher, student.shape[2:], mode='bilinear')
        for rows, maps in ((students, student), (teachers, teacher)):
            each = maps.movedim(1, -1).flatten(0, -2)
            rows.append(each[:: max(1, len(each) // ROWS_PER_BATCH)])
    return torch.cat(students), torch.cat(teachers)


@torch.no_grad()
def collect(models: list[list[str]], batches: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Logits of student and teacher by the title of the model."""
    return {
        title: collect_logits(Config.fromfile(config), checkpoint, batches)
        for title, config, checkpoint in models
    }


def main() -> None:
    args = parse_args()
    logits = collect(args.model, args.batches)
    figure = plot_ranking(logits, args.tau, args.k)
    figure.savefig(args.out, dpi=110)
    rows, classes = next(iter(logits.values()))[0].shape
    print(f'{args.out}: {rows} rows of {classes} classes')


if __name__ == '__main__':
    main()
