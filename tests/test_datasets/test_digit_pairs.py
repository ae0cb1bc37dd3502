from __future__ import annotations

import numpy as np
import pytest

from mmkd_logit.datasets import DigitPairs, Digits


def test_each_number_is_two_digits_of_the_split() -> None:
    pairs = DigitPairs('test', per_class=3, noise=0.0)
    digits = {sample['img'].tobytes(): sample['gt_label'] for sample in Digits('test')}
    labels = []
    for pair in pairs:
        left, right = np.split(pair['img'], 2, axis=1)
        number = 10 * digits[left.tobytes()] + digits[right.tobytes()]
        assert pair['gt_label'] == number
        labels.append(number)
    assert np.bincount(labels).tolist() == [3] * 100
    assert pairs.metainfo['classes'][7] == '07'


def test_noise() -> None:
    clean, noisy = (DigitPairs('train', noise=noise) for noise in (0.0, 20.0))
    images = np.stack([[a['img'], b['img']] for a, b in zip(clean, noisy)]).astype(int)
    # Not where the noise would leave the range of a pixel.
    inside = (images[:, 0] > 80) & (images[:, 0] < 175)
    difference = (images[:, 1] - images[:, 0])[inside]
    assert abs(difference.mean()) < 0.5
    assert difference.std() == pytest.approx(20, abs=0.5)


def test_splits_have_noise_of_their_own() -> None:
    noise = []
    for split in ('train', 'test', 'fit', 'val'):
        pairs = [DigitPairs(split, noise=sigma) for sigma in (0.0, 20.0)]
        clean, noisy = (np.stack([item['img'] for item in each]) for each in pairs)
        noise.append(np.where((clean > 80) & (clean < 175), noisy - clean * 1.0, 0))
    correlations = np.corrcoef([each.ravel() for each in noise])
    assert abs(correlations - np.eye(4)).max() < 0.02


def test_is_always_the_same() -> None:
    first, second = DigitPairs('train'), DigitPairs('train')
    assert all(np.array_equal(a['img'], b['img']) for a, b in zip(first, second))


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match='per_class=0'):
        DigitPairs(per_class=0)
    with pytest.raises(ValueError, match=r'noise=-1\.0'):
        DigitPairs(noise=-1.0)
