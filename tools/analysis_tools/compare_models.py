"""Compare students with their teacher on the validation set: table, CSV and picture.

The first --model is the teacher. Agreement is the share of images on which both predict
the same class, tau is Kendall's and compares the ranking of the classes, KL is from the
teacher's softmax to the student's, and ECE is the calibration error in 15 bins.

For segmentors, pixels of the first config's test set take the place of images: mIoU and
accuracy are over all pixels of the images, the other numbers over 20000 of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmkd_logit.arguments import (
    Parser,
    add_model_argument,
    add_samples_argument,
    picture_path,
)
from mmkd_logit.entry_point import run_tool

if TYPE_CHECKING:
    from torch import Tensor

    from mmkd_logit.models.distillers.predictions import Predictions

# For the picture: most of 15 bins would hold only a few rows.
BINS = 5


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('out', type=picture_path, help='picture, such as models.png')
    add_model_argument(parser)
    add_samples_argument(parser, 5000)
    return parser.parse_args(argv)


def against(student: Predictions, teacher: Predictions) -> tuple[dict, Tensor]:
    """Return agreement in percent, mean tau and KL; and tau of each row."""
    from mmkd_logit.functional import kd_loss, kendall_tau

    tau = kendall_tau(student.logits, teacher.logits)
    same = student.logits.argmax(1) == teacher.logits.argmax(1)
    numbers = {
        'agreement, %': 100 * same.double().mean().item(),
        'tau': tau.double().mean().item(),
        'KL': kd_loss(student.logits, teacher.logits, tau=1.0).item(),
    }
    return numbers, tau


def scores_of(predictions: dict[str, Predictions]) -> dict[str, dict[str, float]]:
    """Return the accuracy of each classifier in percent."""
    scores = {}
    for label, found in predictions.items():
        right = found.logits.argmax(1) == found.labels
        scores[label] = {'accuracy, %': 100 * right.double().mean().item()}
    return scores


def shown(name: str, value: object) -> str:
    """Format a cell: percentages and millions with two decimals, others with four."""
    if not isinstance(value, float):
        return str(value)
    return f'{value:.2f}' if ', ' in name else f'{value:.4f}'


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from mmkd_logit.apis import is_segmentor, predict_models, predict_segmentors
    from mmkd_logit.functional import calibration_bins
    from mmkd_logit.visualization import plot_comparison, save

    kind = 'pixels' if is_segmentor(args.model[0][1]) else 'images'
    if kind == 'pixels':
        predictions, found_scores = predict_segmentors(args.model, args.samples)
        scores = {
            label: {'mIoU, %': iou, 'accuracy, %': accuracy}
            for label, (iou, accuracy) in found_scores.items()
        }
    else:
        predictions, _ = predict_models(args.model, args.samples, least=2)
        scores = scores_of(predictions)
    teacher = next(iter(predictions))
    calibration, taus, rows = {}, {}, []
    for label, found in predictions.items():
        calibration[label] = calibration_bins(found.logits, found.labels, BINS)
        row = {
            'label': label,
            'params, M': found.parameters / 1e6 if found.parameters else '',
            **scores[label],
            'ECE, %': 100 * calibration_bins(found.logits, found.labels).error,
        }
        numbers, tau = against(found, predictions[teacher])
        if label == teacher:
            numbers = dict.fromkeys(numbers, '')
        else:
            taus[label] = tau.numpy()
        rows.append({**row, **numbers})
    table = Table(
        Column('label', no_wrap=True),
        *(Column(name, justify='right') for name in list(rows[0])[1:]),
        title=f'{len(found.labels)} {kind}; agreement, tau and KL with {teacher}',
        box=SIMPLE_HEAD,
        collapse_padding=True,
    )
    for row in rows:
        table.add_row(*(shown(name, value) for name, value in row.items()))
    Console().print(table)
    save(plot_comparison(calibration, taus, kind), args.out, rows)


if __name__ == '__main__':
    run_tool(main)
