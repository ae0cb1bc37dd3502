"""Plot segmentations side by side: image, truth, and the prediction of each model.

Each model is a config with a checkpoint: a plain segmentor or a distiller.
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
    parser.add_argument(
        '--images',
        nargs='+',
        type=int,
        default=[0, 1, 2],
        metavar='INDEX',
        help="images of the first config's test set; defaults to 0 1 2",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from mmkd_logit.apis import load_segmentors, segment
    from mmkd_logit.visualization import plot_segmentations

    models, dataset = load_segmentors(args.model)
    outside = [index for index in args.images if not 0 <= index < len(dataset)]
    if outside:
        raise ValueError(
            f'--images {outside}: the test set has the images 0 to {len(dataset) - 1}.'
        )
    samples = [dataset[index] for index in args.images]
    # Images are BGR, as mmcv reads them.
    images = [sample['inputs'].flip(0).permute(1, 2, 0).numpy() for sample in samples]
    label_maps = {
        'truth': [each['data_samples'].gt_sem_seg.data[0].numpy() for each in samples]
    }
    for label, model in models.items():
        label_maps[label] = [segment(model, sample) for sample in samples]
    meta = dataset.metainfo
    figure = plot_segmentations(images, label_maps, meta['classes'], meta['palette'])
    figure.savefig(args.out, dpi=120)
    print(f'{args.out}: images {args.images} of {len(dataset)}')


if __name__ == '__main__':
    run_tool(main)
