"""Export a trained student to ONNX, and check the file against it.

Takes a plain config with the exported student, or a distiller's config with any of its
checkpoints; the teacher is not needed. The file takes any batch size but one image
size, and outputs logits: (N, classes), or for a segmentor (N, classes, height, width)
at the resolution of the images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmkd_logit.arguments import Parser, positive
from mmkd_logit.entry_point import run_tool

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config


def onnx_path(text: str) -> Path:
    """Parse the path of the file to write."""
    path = Path(text)
    if path.suffix != '.onnx':
        raise argparse.ArgumentTypeError(f'{text!r} must end with .onnx')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist')
    return path


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=onnx_path, help='the file to write, .onnx')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help="size of the images; defaults to that of the config's test set",
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='include normalization: the file then takes pixels from 0 to 255, with '
        "channels in the order of the config's pipeline, usually BGR",
    )
    parser.add_argument(
        '--images',
        type=int,
        default=8,
        metavar='N',
        help='test images to compare on, besides random ones; defaults to 8, 0: none',
    )
    parser.add_argument(
        '--batch',
        type=positive,
        metavar='N',
        help='the only batch size that the file takes; defaults to any',
    )
    return parser.parse_args(argv)


def test_images(cfg: Config, count: int) -> torch.Tensor:
    """Load the first test images as the pipeline packs them: pixels from 0 to 255."""
    import torch
    from mmengine.runner import Runner

    from mmkd_logit.apis import check_data

    if cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{cfg.filename} has no test_dataloader. Compare only on random images: '
            '--images 0 --shape HEIGHT WIDTH.'
        )
    check_data(cfg, ('test_dataloader',))
    dataset = Runner.build_dataloader(cfg.test_dataloader).dataset
    images = [dataset[i]['inputs'] for i in range(min(count, len(dataset)))]
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise ValueError(
            f'The test images have several shapes, {shapes}, but the file takes one. '
            'Compare only on random images: --images 0 --shape HEIGHT WIDTH.'
        )
    return torch.stack(images).float()


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    with torch.no_grad():
        export(args)


def export(args: argparse.Namespace) -> None:
    """Write the file, and compare it with the model."""
    from mmengine.config import Config

    from mmkd_logit.apis import build_model, load_weights
    from mmkd_logit.apis.onnx import ExportedModel, check_onnx, export_onnx

    if args.images == 0 and args.shape is None:
        raise ValueError('--images 0 needs --shape HEIGHT WIDTH.')
    cfg = Config.fromfile(args.config)
    model = build_model(cfg)
    load_weights(model, args.checkpoint)
    exported = ExportedModel(model, args.preprocess)
    real = test_images(cfg, args.images) if args.images else None
    if args.shape is None and real is not None:
        args.shape = real.shape[-2:]
    channels = exported.in_channels
    difference = export_onnx(exported, args.out, (channels, *args.shape), args.batch)
    kind = 'pixels from 0 to 255' if args.preprocess else 'normalized images'
    size = ' x '.join(map(str, (args.batch or 'N', channels, *args.shape)))
    print(f'{args.out} takes {kind}, {size}.')
    print(f'random images: the logits differ by {difference:.1e} of the largest')
    if real is not None:
        real = real[: args.batch]
    if real is None or real.shape[-2:] != tuple(args.shape):
        return
    if len(real) < (args.batch or 0):
        return
    # With the model's own preprocessor, not its copy in the file.
    processed = exported.model.data_preprocessor({'inputs': list(real)})['inputs']
    expected = ExportedModel(model)(processed)
    try:
        difference = check_onnx(
            args.out, real if args.preprocess else processed, expected
        )
    except ValueError:
        args.out.unlink()
        raise
    print(f'{len(real)} test images: they differ by {difference:.1e}')


if __name__ == '__main__':
    run_tool(main)
