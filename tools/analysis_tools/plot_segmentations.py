"""Picture of what segmentors say: image, truth, and the prediction of each model.

Each model is a config with a checkpoint: a plain segmentor, or a distiller.
"""

import argparse
import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import load_checkpoint

from mmkd_logit.registry import MODELS
from mmkd_logit.visualization import plot_segmentations


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='file of the picture, as out.png')
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('TITLE', 'CONFIG', 'CHECKPOINT'),
        help='can be given several times; the first config names the data set',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        type=int,
        default=[0, 1, 2],
        metavar='INDEX',
        help='which images of the test set; 0 1 2 if not set',
    )
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    args = parse_args()
    configs = [Config.fromfile(path) for _, path, _ in args.model]
    init_default_scope(configs[0].default_scope)
    dataset = DATASETS.build(configs[0].test_dataloader.dataset)
    samples = [dataset[index] for index in args.images]
    # Images are BGR, as mmcv reads them.
    images = [sample['inputs'].flip(0).permute(1, 2, 0).numpy() for sample in samples]
    truth = [sample['data_samples'].gt_sem_seg.data[0].numpy() for sample in samples]
    label_maps = {'truth': truth}
    for cfg, (title, _, checkpoint) in zip(configs, args.model):
        model = MODELS.build(cfg.model)
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
        model.eval()
        label_maps[title] = []
        for sample in copy.deepcopy(samples):
            batch = {key: [value] for key, value in sample.items()}
            (prediction,) = model.test_step(batch)
            label_maps[title].append(prediction.pred_sem_seg.data[0].numpy())
    meta = dataset.metainfo
    figure = plot_segmentations(images, label_maps, meta['classes'], meta['palette'])
    figure.savefig(args.out, dpi=120)
    print(f'{args.out}: images {args.images} of {len(dataset)}')


if __name__ == '__main__':
    main()
