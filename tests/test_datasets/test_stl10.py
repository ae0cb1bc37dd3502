"""STL-10 in its own binary format."""

from pathlib import Path

import numpy as np
import pytest
from make_stl10_folder import SmallSTL10, make_stl10_folder

from mmkd_logit.datasets import STL10


def test_images_and_labels(tmp_path: Path) -> None:
    make_stl10_folder(tmp_path)
    train, test = (SmallSTL10(str(tmp_path), split) for split in ('train', 'test'))
    assert (len(train), len(test)) == (80, 20)
    assert train.get_cat_ids(13) == [3]
    assert train.metainfo['classes'][3] == 'cat'
    image = test[7]['img']
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    row, column = np.mgrid[:96, :96] * 2
    np.testing.assert_array_equal(image[..., 0], row)
    np.testing.assert_array_equal(image[..., 1], column)
    assert len(np.unique(image[..., 2])) > 200


def test_what_is_not_stl10(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'Unpack .*stl10_binary.tar.gz in'):
        STL10(str(tmp_path))
    make_stl10_folder(tmp_path)
    with pytest.raises(ValueError, match='train_X.bin is not the STL-10 file'):
        STL10(str(tmp_path))
    with pytest.raises(ValueError, match="one of .'train', 'test'., but got 'all'"):
        STL10(str(tmp_path), 'all')
