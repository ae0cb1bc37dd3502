"""Compare how students and their teacher rank the classes: picture and CSV.

The first --model is the teacher. Top: the share of gradient that KD and Kendall's tau
give to each class, by its rank in the teacher's probabilities. Bottom: KL divergence
and Kendall's tau of each image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from mmkd_logit.arguments import (
    Parser,
    add_model_argument,
    add_samples_argument,
    picture_path,
)
from mmkd_logit.entry_point import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('out', type=picture_path, help='picture, such as ranking.png')
    add_model_argument(parser)
    add_samples_argument(parser, 1000)
    parser.add_argument(
        '--tau', type=float, default=4.0, help='temperature of KD; defaults to 4'
    )
    parser.add_argument(
        '--k',
        type=float,
        default=100.0,
        help="steepness of Kendall's tau; defaults to 100",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    from mmkd_logit.apis import predict_models
    from mmkd_logit.functional import (
        gradient_shares,
        kd_loss,
        kendall_tau,
        kendall_tau_loss,
    )
    from mmkd_logit.visualization import plot_ranking, save

    predictions, _ = predict_models(args.model, args.samples, least=2)
    (_, teacher), *students = (
        (label, found.logits) for label, found in predictions.items()
    )
    losses = {
        f'KD, tau={args.tau:g}': partial(kd_loss, tau=args.tau),
        f"Kendall's tau, k={args.k:g}": partial(kendall_tau_loss, k=args.k),
    }
    shares = {
        name: {
            label: gradient_shares(loss, student, teacher)
            for label, student in students
        }
        for name, loss in losses.items()
    }
    idle = [
        f'{name}: {label}'
        for name, by_student in shares.items()
        for label, share in by_student.items()
        if not share.any()
    ]
    if idle:
        raise ValueError(
            f'{idle[0]} gets no gradient at all, so there is nothing to share. Lower '
            '--k, use more samples, or choose another student.'
        )
    divergence = {
        label: torch.stack(
            [kd_loss(s, t, tau=1.0) for s, t in zip(student.split(1), teacher.split(1))]
        )
        for label, student in students
    }
    tau = {label: kendall_tau(student, teacher) for label, student in students}
    rows = [
        {'gradient': f'{name}: {label}', 'rank': rank, 'share': share}
        for name, by_student in shares.items()
        for label, each in by_student.items()
        for rank, share in enumerate(each.tolist(), 1)
    ]
    save(plot_ranking(shares, divergence, tau), args.out, rows)


if __name__ == '__main__':
    run_tool(main)
