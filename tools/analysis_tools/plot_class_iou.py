"""Plot the IoU of each class, and students' gains at boundaries and on small objects.

The first --model is the teacher, the second the plain student, the baseline of all
gains. The images are those of the first config's test set.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmkd_logit.arguments import Parser, add_model_argument, picture_path
from mmkd_logit.entry_point import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('out', type=picture_path, help='the picture, such as out.png')
    add_model_argument(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from rich.progress import track

    from mmkd_logit.apis import load_segmentors, segment
    from mmkd_logit.visualization import PixelScores, plot_class_iou, save, score_rows

    models, dataset = load_segmentors(args.model, least=2)
    classes = dataset.metainfo['classes']
    scores = {label: PixelScores(len(classes)) for label in models}
    for index in track(range(len(dataset)), description='images', transient=True):
        sample = dataset[index]
        truth = sample['data_samples'].gt_sem_seg.data[0].numpy()
        for label, model in models.items():
            scores[label].add(segment(model, sample), truth)
    plain = list(models)[1]
    for label, found in scores.items():
        print(f'{label}: mIoU {found.mean_iou():.2f} on {len(dataset)} images')
    rows = score_rows(scores, plain, classes)
    save(plot_class_iou(scores, plain, classes), args.out, rows)


if __name__ == '__main__':
    run_tool(main)
