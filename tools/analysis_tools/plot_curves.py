"""Plot logged values over training: mean and spread over seeds, and numbers as CSV.

Any value in the log can be plotted: validation metrics, losses, neural collapse (nc/*),
gradient cosines (grad_cos/*). A band is one standard deviation on either side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmkd_logit.arguments import Parser, picture_path
from mmkd_logit.entry_point import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('out', type=picture_path, help='picture, such as curves.png')
    parser.add_argument(
        '--run',
        nargs='+',
        action='append',
        required=True,
        metavar=('LABEL', 'WORK_DIR'),
        help='a label and the work dirs of its seeds; can be given several times',
    )
    parser.add_argument(
        '--keys',
        nargs='+',
        metavar='KEY',
        help='what to plot, such as accuracy/top1 or "nc/*"; defaults to the '
        'validation metrics',
    )
    parser.add_argument(
        '--panels',
        choices=['key', 'label'],
        default='key',
        help='a panel per key with a line per label, or the other way round with one '
        'scale; defaults to key',
    )
    parser.add_argument(
        '--average',
        type=int,
        default=1,
        metavar='N',
        help='plot the mean of every N consecutive values; defaults to 1',
    )
    args = parser.parse_args(argv)
    if args.average < 1:
        parser.error(f'--average must be 1 or more, but got {args.average}')
    labels = [label for label, *_ in args.run]
    for label, *work_dirs in args.run:
        if not work_dirs:
            parser.error(f'--run {label}: name at least one work dir after the label')
        if labels.count(label) > 1:
            parser.error(f'--run {label}: name all its work dirs after one --run')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from mmkd_logit.visualization import RunLog, plot_curves, read_curves, save

    groups = {label: [RunLog(path) for path in paths] for label, *paths in args.run}
    panels, rows = read_curves(groups, args.keys, args.average)
    for key, curves in panels.items():
        for label in groups:
            if label not in curves:
                print(f'{label} has not logged {key}')
    if args.panels == 'label':
        panels = {
            label: lines
            for label in groups
            if (
                lines := {k: each[label] for k, each in panels.items() if label in each}
            )
        }
    figure = plot_curves(panels, share_y=args.panels == 'label')
    save(figure, args.out, rows)


if __name__ == '__main__':
    run_tool(main)
