"""Curves of what runs have logged: mean and spread over seeds, and the numbers as CSV.

Metrics of the validation set, losses, neural collapse (nc/*), cosines of gradients
(grad_cos/*): any value in the log. A band is one standard deviation to either side.
"""

import argparse

from mmkd_logit.visualization import (
    Curve,
    RunLog,
    find_keys,
    picture_path,
    plot_curves,
    read_curve,
    save,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=picture_path, help='the picture, as curves.png')
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
        help='what to plot, as accuracy/top1 or "nc/*"; the metrics of the validation '
        'set if not set',
    )
    parser.add_argument(
        '--panels',
        choices=['key', 'label'],
        default='key',
        help='a panel for each key with a line for each label, or the other way round, '
        'with one scale; key if not set',
    )
    parser.add_argument(
        '--average',
        type=int,
        default=1,
        metavar='N',
        help='plot the mean of each N values in a row; 1 if not set',
    )
    args = parser.parse_args()
    if args.average < 1:
        parser.error(f'--average must be 1 or more, but got {args.average}')
    labels = [label for label, *_ in args.run]
    for label, *work_dirs in args.run:
        if not work_dirs:
            parser.error(f'--run {label}: name at least one work dir after the label')
        if labels.count(label) > 1:
            parser.error(f'--run {label}: name all its work dirs after one --run')
    return args


def main() -> None:
    args = parse_args()
    groups = {label: [RunLog(path) for path in paths] for label, *paths in args.run}
    keys = find_keys([run for runs in groups.values() for run in runs], args.keys)
    panels: dict[str, dict[str, Curve]] = {}
    rows = []
    for key in keys:
        for label, runs in groups.items():
            curve = read_curve(runs, key)
            if curve is None:
                print(f'{label} has not logged {key}')
                continue
            curve = curve.averaged(args.average)
            panel, line = (key, label) if args.panels == 'key' else (label, key)
            panels.setdefault(panel, {})[line] = curve
            rows += [
                {
                    'key': key,
                    'label': label,
                    'unit': curve.unit,
                    'step': step,
                    'mean': mean,
                    'standard deviation': deviation if len(runs) > 1 else '',
                    'runs': len(runs),
                }
                for step, mean, deviation in zip(
                    curve.steps, curve.mean, curve.deviation
                )
            ]
    figure = plot_curves(panels, share_y=args.panels == 'label')
    save(figure, args.out, rows)


if __name__ == '__main__':
    main()
