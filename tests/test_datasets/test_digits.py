from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmkd_logit.datasets import Digits


def test_is_scikit_learn_s_data_in_order() -> None:
    train, test = Digits('train'), Digits('test')
    digits = load_digits()
    assert (len(train), len(test)) == (1297, 500)
    assert train.get_gt_labels().tolist() == digits.target[:1297].tolist()
    assert test.get_gt_labels().tolist() == digits.target[1297:].tolist()
    sample = test[3]
    expected = np.round(digits.images[1300] * 255 / 16)
    assert sample['img'].dtype == np.uint8
    np.testing.assert_array_equal(sample['img'][..., 0], expected)
    assert sample['sample_idx'] == 3
    assert train.metainfo['classes'] == tuple('0123456789')


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match=r"one of \['train', .*, but got 'valid'"):
        Digits('valid')


def test_parts_of_the_training_images() -> None:
    fit, val = (Digits(split).get_gt_labels().tolist() for split in ('fit', 'val'))
    assert (len(fit), len(val)) == (1000, 297)
    assert fit + val == Digits('train').get_gt_labels().tolist()
