"""Tiny-ImageNet as its archive unpacks."""

from pathlib import Path

import pytest
from make_tiny_imagenet_folder import CLASSES, make_tiny_imagenet_folder

from mmkd_logit.datasets import TinyImageNet

LOAD = [dict(type='LoadImageFromFile')]


def test_images_and_labels(tmp_path: Path) -> None:
    root = tmp_path / 'tiny-imagenet-200'
    make_tiny_imagenet_folder(root)
    for split in ('train', 'val'):
        dataset = TinyImageNet(str(root), split, pipeline=LOAD)
        assert len(dataset) == 200
        assert dataset.metainfo['classes'] == tuple(CLASSES)
        for index in (0, 130):
            sample = dataset[index]
            assert sample['img'].shape == (64, 64, 3)
            # Blue comes first; a JPEG is near its original.
            assert abs(sample['img'][..., 2].mean() - sample['gt_label']) < 3
        assert {dataset.get_cat_ids(i)[0] for i in range(200)} == {*range(200)}


def test_what_is_not_tiny_imagenet(tmp_path: Path) -> None:
    root = tmp_path / 'tiny-imagenet-200'
    with pytest.raises(FileNotFoundError, match=r'Unpack http.*tiny-imagenet-200.zip'):
        TinyImageNet(str(root))
    make_tiny_imagenet_folder(root)
    annotations = root / 'val' / 'val_annotations.txt'
    annotations.write_text(annotations.read_text() + 'val_200.JPEG\tn1\t0\t0\t9\t9\n')
    with pytest.raises(ValueError, match=r'val_200.JPEG is of n1, which wnids.txt'):
        TinyImageNet(str(root), 'val')
    with pytest.raises(ValueError, match="one of .'train', 'val'., but got 'test'"):
        TinyImageNet(str(root), 'test')
