"""Students against their teacher on the validation set: table, CSV and picture.

The first --model is the teacher. Agreement is the share of images for which both name
the same class, tau is Kendall's and compares the order of the classes, KL is that from
the teacher's softmax to the student's, ECE is the calibration error in 15 bins.
"""

import argparse

import torch
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from mmkd_logit.apis import (
    add_model_argument,
    add_samples_argument,
    predict_models,
)
from mmkd_logit.functional import calibration_bins, kd_loss, kendall_tau
from mmkd_logit.models.distillers.predictions import Predictions
from mmkd_logit.visualization import picture_path, plot_comparison, save


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=picture_path, help='the picture, as comparison.png')
    add_model_argument(parser)
    add_samples_argument(parser, 5000)
    return parser.parse_args()


def against(student: Predictions, teacher: Predictions) -> tuple[dict, Tensor]:
    """Agreement in percent, mean tau and KL; and tau of each image."""
    tau = kendall_tau(student.logits, teacher.logits)
    same = student.logits.argmax(1) == teacher.logits.argmax(1)
    numbers = {
        'agreement, %': 100 * same.double().mean().item(),
        'tau': tau.double().mean().item(),
        'KL': kd_loss(student.logits, teacher.logits, tau=1.0).item(),
    }
    return numbers, tau


@torch.no_grad()
def main() -> None:
    args = parse_args()
    predictions, _ = predict_models(args.model, args.samples, least=2)
    teacher = next(iter(predictions))
    calibration, taus, rows = {}, {}, []
    for label, found in predictions.items():
        right = found.logits.argmax(1) == found.labels
        calibration[label] = calibration_bins(found.logits, found.labels)
        row = {
            'label': label,
            'accuracy, %': 100 * right.double().mean().item(),
            'ECE, %': 100 * calibration[label].error,
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
        title=f'{len(found.labels)} images; agreement, tau and KL with {teacher}',
    )
    for row in rows:
        cells = (f'{v:.4f}' if isinstance(v, float) else v for v in row.values())
        table.add_row(*map(str, cells))
    Console().print(table)
    save(plot_comparison(calibration, taus), args.out, rows)


if __name__ == '__main__':
    main()
