"""Test a checkpoint on the test set of a config.

Takes a distiller's config with its checkpoint or the exported student, or a plain
config with the exported student. The teacher is not needed.
"""

import argparse
from pathlib import Path

import mmengine
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper

from mmkd_logit.apis import (
    add_common_arguments,
    build_runner,
    check_data,
    load_weights,
    read_config,
)


def metrics_path(text: str) -> Path:
    """Parse the path of the metrics file, in a format that mmengine writes."""
    path = Path(text)
    if path.suffix not in ('.json', '.yaml', '.yml'):
        raise argparse.ArgumentTypeError(f'{text!r} must end with .json or .yaml')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist')
    return path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', type=metrics_path, help='write the metrics to this json or yaml file'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    # The config dumped by a resumed run would load that run's latest checkpoint.
    cfg.load_from, cfg.resume = None, False
    check_data(cfg, ('test_dataloader',))
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_weights(model, args.checkpoint)
    metrics = runner.test()
    if args.out is not None and is_main_process():
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
