"""t-SNE of the features before the last layer, one panel per model.

Distances between clusters and their sizes mean nothing in such a picture. It shows
which classes form clusters, and which images lie among those of another class.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmkd_logit.arguments import (
    Parser,
    add_model_argument,
    add_samples_argument,
    picture_path,
)
from mmkd_logit.entry_point import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('out', type=picture_path, help='picture, such as features.png')
    add_model_argument(parser)
    add_samples_argument(parser, 500)
    parser.add_argument(
        '--classes',
        nargs='+',
        type=int,
        default=list(range(10)),
        metavar='INDEX',
        help='classes to show; defaults to 0 to 9',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of t-SNE; defaults to 0'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from mmkd_logit.apis import predict_models
    from mmkd_logit.visualization import embed, plot_features, save

    predictions, classes = predict_models(
        args.model, args.samples, classes=args.classes, features=True
    )
    points = {
        label: embed(found.features.numpy(), args.seed)
        for label, found in predictions.items()
    }
    labels = next(iter(predictions.values())).labels.numpy()
    rows = [
        {'label': label, 'class': classes[index], 'x': x, 'y': y}
        for label, where in points.items()
        for index, (x, y) in zip(labels, where)
    ]
    save(plot_features(points, labels, classes), args.out, rows)


if __name__ == '__main__':
    run_tool(main)
