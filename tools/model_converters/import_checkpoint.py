"""Convert a released checkpoint to one of mmpretrain.

Reads the files of mdistiller, RepDistiller and torchvision, which a teacher accepts as
they are. The output loads wherever mmpretrain loads a checkpoint, such as in load_from.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmkd_logit.arguments import Parser
from mmkd_logit.entry_point import run_tool


def new_path(text: str) -> Path:
    """Parse the path of a new file in an existing folder."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist')
    if path.exists():
        raise argparse.ArgumentTypeError(
            f'{text!r} exists: remove it, or choose another name'
        )
    return path


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('config', help="config of the file's network")
    parser.add_argument('file', help='the released checkpoint, a path or an address')
    parser.add_argument('out', type=new_path, help='file for the checkpoint')
    args = parser.parse_args(argv)
    from mmengine.runner import save_checkpoint

    from mmkd_logit.apis import build_model, class_names_in, load_weights
    from mmkd_logit.compat import config_from
    from mmkd_logit.models.settings import is_distiller

    cfg = config_from(args.config, f'The config {args.config!r}')
    if is_distiller(cfg.model):
        parser.error(f"{args.config} is a distiller's; name that of a plain model.")
    model = build_model(cfg)
    load_weights(model, args.file)
    classes = class_names_in(cfg)
    meta = {'dataset_meta': {'classes': classes}} if classes else {}
    weights = model.state_dict()
    save_checkpoint({'meta': meta, 'state_dict': weights}, str(args.out))
    names = f'{len(classes)} class names' if classes else 'no class names'
    print(f'{len(weights)} tensors and {names} are in {args.out}.')


if __name__ == '__main__':
    run_tool(main)
