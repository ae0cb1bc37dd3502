"""Notices of the stack that nobody can act on are dropped; broken files are named."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine import logging as mmengine_logging
from mmengine.dataset import Compose
from mmengine.fileio import FileClient, file_client
from mmengine.logging import MMLogger

import mmkd_logit.registry  # noqa: F401  calls what is tested here
from mmkd_logit.compat import silence_stack


def warn(module: str, text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning from a module, as if it did so itself."""
    code = f'import warnings; warnings.warn({text!r}, {category.__name__})'
    exec(code, {'__name__': module})


DEFORMABLE = 'Fail to import ``MultiScaleDeformableAttention`` from ``mmcv.ops``, you'


def test_warnings() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        silence_stack()
        warn('mmcv.cnn.bricks.transformer', DEFORMABLE)
        warn(
            'mmengine.model.wrappers.distributed',
            '`broadcast_buffers` is deprecated. Use',
            FutureWarning,
        )
        assert not caught
        others = [
            (
                'mmcv.cnn.bricks.transformer',
                'Fail to import ``Another`` from',
                UserWarning,
            ),
            ('my_module', DEFORMABLE, UserWarning),
            ('mmcv.cnn.bricks.transformer', DEFORMABLE, RuntimeWarning),
        ]
        for other in others:
            warn(*other)
    told = [(str(warning.message), warning.category) for warning in caught]
    assert told == [other[1:] for other in others]


def test_printed_notices(capsys: pytest.CaptureFixture[str]) -> None:
    mmengine_logging.print_log('Could not import OneDL', level=logging.DEBUG)
    mmengine_logging.print_log('Could not import mmdet', level=logging.DEBUG)
    assert capsys.readouterr().out == 'Could not import mmdet\n'


def test_logged_notices(warned: list[str]) -> None:
    FileClient(backend='disk')
    assert warned == []
    file_client.print_log('"petrel" is slow', 'current', logging.WARNING)
    assert warned == ['"petrel" is slow']
    MMLogger.get_current_instance().warning('"FileClient" will be deprecated')
    assert len(warned) == 2  # from elsewhere


LOAD = [dict(type='mmseg.LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('broken', ['img_path', 'seg_map_path'])
def test_an_empty_file_is_named(broken: str, backend: str, tmp_path: Path) -> None:
    sample: dict = dict(seg_fields=[], reduce_zero_label=False)
    for key in ('img_path', 'seg_map_path'):
        path = tmp_path / f'{key}.png'
        cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
        sample[key] = str(path)
    load = [{**step, 'imdecode_backend': backend} for step in LOAD]
    assert Compose(load)(dict(sample))['gt_seg_map'].shape == (4, 4)
    Path(sample[broken]).write_bytes(b'')
    with pytest.raises(ValueError) as error:
        Compose(load)(sample)
    assert f'{sample[broken]} (an empty file)' in str(error.value)
    assert str(error.value).count('(an empty file)') == 1
    assert 'cannot be loaded or transformed: ' in str(error.value)


def test_other_samples() -> None:
    def fails(sample: dict) -> dict:
        raise KeyError('img')

    with pytest.raises(KeyError, match='img'):
        Compose([fails])({'img': None})  # from memory
    with pytest.raises(ValueError, match=r"^a.png cannot be .* KeyError: 'img'"):
        Compose([fails])({'img_path': 'a.png'})
    assert Compose([str.upper])('x') == 'X'  # type: ignore[arg-type]  # an inferencer's
