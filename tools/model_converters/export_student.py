"""Export the plain student from a distiller's checkpoint.

The weights load into the plain model of mmpretrain or mmseg, without this package. A
config of the plain model is written beside them, with the suffix .py. If the run
averaged its weights (EMAHook), these are the averaged ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmkd_logit.arguments import Parser
from mmkd_logit.entry_point import run_tool


def weights_path(text: str) -> Path:
    """Parse the path of the weights; the config has the same name with suffix .py."""
    path = Path(text)
    if path.suffix == '.py':
        raise argparse.ArgumentTypeError(f'{text!r} is for weights: use .pth.')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist.')
    return path


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('checkpoint', help="the distiller's checkpoint")
    parser.add_argument('out', type=weights_path, help='file for the student')
    parser.add_argument(
        '--config',
        help="the distiller's config; defaults to the one in the checkpoint",
    )
    args = parser.parse_args(argv)
    from mmengine.config import Config
    from mmengine.runner import save_checkpoint

    from mmkd_logit.checkpoint import mapping_at, read_checkpoint, weights_of
    from mmkd_logit.models.distillers.student_checkpoint import student_checkpoint
    from mmkd_logit.models.distillers.student_config import (
        student_config,
        student_config_of_text,
    )

    checkpoint = read_checkpoint(args.checkpoint)
    meta = mapping_at(checkpoint, 'meta')
    weights = weights_of(checkpoint, args.checkpoint)
    student = student_checkpoint(weights, meta)
    save_checkpoint(student, str(args.out))
    print(f'{len(student["state_dict"])} tensors of the student are in {args.out}.')
    config: str | None = None
    left_out: list[str] = []
    if args.config is not None:
        config = student_config(Config.fromfile(args.config))
    elif isinstance(meta.get('cfg'), str):
        config, left_out = student_config_of_text(meta['cfg'])
    if left_out:
        print(
            f'Left out of the config: {", ".join(left_out)}. Pass the config file with '
            '--config to keep what mmengine imports or reads.'
        )
    if config is None:
        print('The checkpoint holds no config. Pass --config to export that too.')
        return
    args.out.with_suffix('.py').write_text(config, encoding='utf-8')
    print(f'The config of the student is in {args.out.with_suffix(".py")}.')


if __name__ == '__main__':
    run_tool(main)
