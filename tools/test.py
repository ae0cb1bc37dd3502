"""Test a checkpoint on the test set of a config.

Takes a distiller's config with its checkpoint or with the exported student, or a
plain config with the exported student. The teacher is not needed.
"""

import argparse

import mmengine
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmkd_logit.engine.launch import (
    add_common_arguments,
    build_runner,
    check_data,
    read_config,
)
from mmkd_logit.models.teachers import weights_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='write the metrics to this json or yaml file')
    return parser.parse_args()


def load(runner: Runner, path: str) -> None:
    """Load a checkpoint; stop if weights of the model are missing in it.

    mmengine only warns, and would test random weights.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    weights = weights_of(CheckpointLoader.load_checkpoint(path, map_location='cpu'))
    # A test needs no queue of teacher logits, nor that it fits the config's.
    weights = {key: weights[key] for key in weights if '.queue.' not in key}
    result = model.load_state_dict(weights, strict=False)
    if result.missing_keys:
        raise SystemExit(
            f'{path} lacks {len(result.missing_keys)} weights of the model, the first '
            f"is {result.missing_keys[0]!r}. A distiller's checkpoint needs the "
            "distiller's config; an exported student takes either."
        )


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    cfg.load_from = None
    check_data(cfg, ('test_dataloader',))
    runner = build_runner(cfg)
    load(runner, args.checkpoint)
    metrics = runner.test()
    if args.out is not None and is_main_process():
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
