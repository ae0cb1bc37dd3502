"""Export a trained student to ONNX, and compare the file with it.

Takes a plain config with the exported student, or a distiller's config with any of its
checkpoints; the teacher is not needed. The file takes a batch of any size, of images
of one size, and gives logits: (N, classes), or (N, classes, height, width) of a
segmentor, at the resolution of the images.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmkd_logit.apis import build_model, check_data, load_weights
from mmkd_logit.apis.onnx import ExportedModel, check_onnx, export_onnx, session_of


def onnx_path(text: str) -> Path:
    """The file to write."""
    path = Path(text)
    if path.suffix != '.onnx':
        raise argparse.ArgumentTypeError(f'{text!r} must end with .onnx')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist')
    return path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=onnx_path, help='the file to write, .onnx')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the images; that of the test set of the config if not set',
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='normalize in the file: it then takes pixels from 0 to 255, their '
        'channels as the pipeline of the config loads them, BGR in most',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=8,
        metavar='N',
        help='test images to compare on, beside random ones; 8 if not set, 0 for none',
    )
    parser.add_argument(
        '--latency',
        type=int,
        default=0,
        metavar='N',
        help='time N passes of one image, by torch and by onnxruntime',
    )
    return parser.parse_args()


def test_images(cfg: Config, count: int) -> torch.Tensor:
    """The first test images, as the pipeline packs them: pixels from 0 to 255."""
    check_data(cfg, ('test_dataloader',))
    dataset = Runner.build_dataloader(cfg.test_dataloader).dataset
    images = [dataset[i]['inputs'] for i in range(min(count, len(dataset)))]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) != 1:
        raise ValueError(
            f'The test images have several shapes, {sorted(shapes)}, but the file '
            'takes one. Compare on random images alone: --images 0 --shape HEIGHT '
            'WIDTH.'
        )
    return torch.stack(images).float()


def milliseconds(passes: int, run: 'type[object] | object') -> float:
    raise NotImplementedError
