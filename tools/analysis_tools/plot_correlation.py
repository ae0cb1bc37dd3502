"""Heat maps of |corr(student logits) - corr(teacher logits)|, one panel per student.

The correlation of two classes is that of their logits over the images. The first
--model is the teacher.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations

from mmkd_logit.arguments import (
    Parser,
    add_model_argument,
    add_samples_argument,
    picture_path,
)
from mmkd_logit.entry_point import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('out', type=picture_path, help='picture, such as classes.png')
    add_model_argument(parser)
    add_samples_argument(parser, 5000)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from mmkd_logit.apis import predict_models
    from mmkd_logit.functional import class_correlation, mean_off_diagonal
    from mmkd_logit.visualization import plot_correlation, save

    predictions, classes = predict_models(args.model, args.samples, least=2)
    (teacher, of_teacher), *students = (
        (label, class_correlation(found.logits)) for label, found in predictions.items()
    )
    differences = {label: (each - of_teacher).abs() for label, each in students}
    rows = [
        {
            'label': label,
            'class': classes[i],
            'other class': classes[j],
            'difference': values[i, j].item(),
        }
        for label, values in differences.items()
        for i, j in combinations(range(len(classes)), 2)
    ]
    for label, values in differences.items():
        print(
            f'{label}: mean difference from {teacher} {mean_off_diagonal(values):.4f}'
        )
    save(plot_correlation(differences, teacher, classes), args.out, rows)


if __name__ == '__main__':
    run_tool(main)
