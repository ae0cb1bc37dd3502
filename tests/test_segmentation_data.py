"""Segmentation datasets as they lie on disk, read as the configs say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, METRICS
from PIL import Image

from mmkd_logit.models import LogitDistiller

sys.path.insert(0, str(Path(__file__).parent / 'test_models' / 'test_distillers'))
from test_segmentors import distiller, head, segmentor

CONFIGS = Path(__file__).parents[1] / 'configs'
HEIGHT, WIDTH = 40, 56
CROP = (32, 32)
# Classes, whether label 0 on disk is no class, and the label of ignored pixels there.
LABELS = {
    'ade20k': (150, True, 0),
    'voc12aug': (21, False, 255),
    'context59': (59, True, 0),
    'coco-stuff164k': (171, False, 255),
}
pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


def write_pair(image: Path, labels: Path, seed: int, highest: int, void: int) -> None:
    """A photograph and its label map: every class may occur, and a void border."""
    noise = np.random.default_rng(seed)
    image.parent.mkdir(parents=True, exist_ok=True)
    labels.parent.mkdir(parents=True, exist_ok=True)
    pixels = noise.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    coarse = noise.integers(0, highest + 1, (HEIGHT // 4, WIDTH // 4), dtype=np.uint8)
    coarse[0, :2] = highest, 1
    fine = coarse.repeat(4, 0).repeat(4, 1)
    fine[:, :2] = void
    written = Image.fromarray(fine)
    if void == 255:  # Pascal's maps have a palette
        written.putpalette(noise.integers(0, 256, 768, dtype=np.uint8).tobytes())
    written.save(labels)


def write(dataset: str, root: Path) -> None:
    """Two images to train on and one to validate on, in the folders of a dataset."""
    classes, zero_is_void, void = LABELS[dataset]
    highest = classes if zero_is_void else classes - 1

    def pair(image: str, labels: str, seed: int) -> None:
        write_pair(root / image, root / labels, seed, highest, void)

    if dataset == 'ade20k':
        for seed, split in enumerate(['training', 'training', 'validation']):
            name = f'{split}/ADE_{split[:-3]}_{seed:08d}'
            pair(f'images/{name}.jpg', f'annotations/{name}.png', seed)
    elif dataset == 'coco-stuff164k':
        for seed, split in enumerate(['train2017', 'train2017', 'val2017']):
            name = f'{split}/{seed:012d}'
            pair(f'images/{name}.jpg', f'annotations/{name}_labelTrainIds.png', seed)
    else:
        maps, lists = {
            'voc12aug': ('SegmentationClass', 'Segmentation'),
            'context59': ('SegmentationClassContext', 'SegmentationContext'),
        }[dataset]
        splits = {'train': 0, 'aug': 1, 'val': 2}
        for split, seed in splits.items():
            folder = f'{maps}Aug' if split == 'aug' else maps
            name = f'2008_{seed:06d}'
            pair(f'JPEGImages/{name}.jpg', f'{folder}/{name}.png', seed)
            listed = root / 'ImageSets' / lists / f'{split}.txt'
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text(f'{name}\n')


def each(dataset: Any) -> Iterator[Any]:
    """The dataset, or those that it joins."""
    yield from dataset.get('datasets', [dataset])


@pytest.fixture(params=LABELS)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Config]:
    """A dataset on disk, and a config that reads it, for small images."""
    init_default_scope('mmseg')
    write(request.param, tmp_path)
    cfg = Config.fromfile(CONFIGS / f'kd/pspnet-r101_pspnet-r18_{request.param}.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for dataset in each(loader.dataset):
            dataset.data_root = str(tmp_path)
            for step in dataset.pipeline:
                if 'Resize' in step.type:
                    step.scale = (WIDTH, HEIGHT)
                for key in {'crop_size', 'size'} & set(step):
                    step[key] = CROP
    return request.param, cfg


def small(classes: int, corners: bool) -> LogitDistiller:
    """A small distiller of as many classes."""
    settings = dict(num_classes=classes, align_corners=corners)
    model = segmentor(head(**settings))
    model['data_preprocessor'].update(size=CROP, seg_pad_val=255)
    return distiller(
        student=model,
        teacher=dict(model=segmentor(head(**settings), 16), checkpoint=None),
        losses=dict(kd=dict(type='KDLoss', tau=1.0)),
        resolution='label',
    )


def test_train_and_validate(data: tuple[str, Config]) -> None:
    name, cfg = data
    classes, zero_is_void, void = LABELS[name]
    assert cfg.model.student.decode_head.num_classes == classes
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    for sample in batch['data_samples']:
        found = sample.gt_sem_seg.data.unique().tolist()
        assert set(found) <= {*range(classes), 255} and len(found) > 2

    model = small(classes, cfg.model.student.decode_head.align_corners)
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert losses['loss_kd'] > 0 and losses['loss_kd'].isfinite()

    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    batch = pseudo_collate([dataset[0]])
    truth = batch['data_samples'][0].gt_sem_seg.data[0]
    # Label 1 on disk is class 0 where 0 is none; the border is void.
    assert truth[0, 4] == (0 if zero_is_void else 1)
    assert (truth[:, :2] == 255).all()
    assert truth[truth != 255].max() == classes - 1
    with torch.no_grad():
        (sample,) = model.eval().val_step(batch)
    assert sample.pred_sem_seg.data.shape == (1, HEIGHT, WIDTH)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    metric.process(None, [sample.to_dict()])
    assert 0 <= metric.evaluate(1)['mIoU'] <= 100
