"""How students rank the classes, compared with their teacher: picture and CSV.

The first --model is the teacher. Left: which classes KD and Kendall's tau give gradient
to, by their rank in the teacher's probabilities. Right: KL divergence and Kendall's tau
of each image.
"""

import argparse

from mmkd_logit.engine.model_arguments import add_model_arguments, predict_models
from mmkd_logit.visualization import (
    gradient_shares,
    picture_path,
    plot_ranking,
    save,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=picture_path, help='the picture, as ranking.png')
    add_model_arguments(parser, samples=1000)
    parser.add_argument(
        '--tau', type=float, default=4.0, help='temperature of KD; 4 if not set'
    )
    parser.add_argument(
        '--k', type=float, default=100.0, help="steepness of Kendall's tau; 100"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    predictions, _ = predict_models(args.model, args.samples, least=2)
    teacher, *students = (found.logits for found in predictions.values())
    named = dict(zip(list(predictions)[1:], students))
    shares = gradient_shares(named, teacher, args.tau, args.k)
    rows = [
        {'gradient': label, 'rank': rank, 'share': share}
        for label, each in shares.items()
        for rank, share in enumerate(each.tolist(), 1)
    ]
    save(plot_ranking(shares, named, teacher), args.out, rows)


if __name__ == '__main__':
    main()
