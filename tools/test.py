"""Test a checkpoint on the test set of a config.

Takes a distiller's config with its checkpoint or the exported student, or a plain
config with the exported student. The teacher is not needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmkd_logit.arguments import Parser, add_common_arguments
from mmkd_logit.entry_point import run_tool

if TYPE_CHECKING:
    from mmengine.config import Config


def metrics_path(text: str) -> Path:
    """Parse the path of the metrics file, in a format that mmengine writes."""
    path = Path(text)
    if path.suffix not in ('.json', '.yaml', '.yml'):
        raise argparse.ArgumentTypeError(f'{text!r} must end with .json or .yaml')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist')
    return path


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', type=metrics_path, help='write the metrics to this json or yaml file'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='average over the augmented images of tta_pipeline, as tta_model does',
    )
    return parser.parse_args(argv)


def augment_images(cfg: Config, name: str) -> None:
    """Put the model into the ``tta_model``, and the ``tta_pipeline`` in place."""
    from mmengine.config import ConfigDict

    missing = [key for key in ('tta_model', 'tta_pipeline') if key not in cfg]
    if missing:
        raise ValueError(
            f'--tta: {name} has no {" and no ".join(missing)}. Define tta_model, such '
            "as dict(type='SegTTAModel') or dict(type='AverageClsScoreTTA'), and "
            'tta_pipeline, the test pipeline with TestTimeAug, or inherit a config '
            'that has both.'
        )
    cfg.model = ConfigDict(cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import mmengine
    from mmengine.dist import is_main_process
    from mmengine.model import is_model_wrapper

    from mmkd_logit.apis import build_runner, check_data, load_weights, read_config
    from mmkd_logit.engine.hooks.class_check_hook import check_same_classes, class_names
    from mmkd_logit.engine.hooks.teacher_check_hook import plain_metrics

    cfg = read_config(args)
    if args.print_config:
        print(cfg.pretty_text)
        return
    # The config dumped by a resumed run would load that run's latest checkpoint.
    cfg.load_from, cfg.resume = None, False
    # A FlexibleRunner builds the model too late for its weights to be loaded strictly.
    if cfg.get('runner_type') == 'FlexibleRunner':
        cfg.pop('runner_type')
    check_data(cfg, ('test_dataloader',))
    if args.tta:
        augment_images(cfg, args.config)
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if args.tta else model
    check_same_classes(
        class_names(runner.test_dataloader.dataset),
        load_weights(model, args.checkpoint),
        'The test set',
        f'the training set of {args.checkpoint}',
    )
    metrics = runner.test()
    if args.out is not None and is_main_process():
        mmengine.dump(plain_metrics(metrics), args.out)


if __name__ == '__main__':
    run_tool(main)
