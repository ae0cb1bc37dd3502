"""Train a model: a distiller, or any plain model of the toolboxes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmkd_logit.arguments import Parser, add_common_arguments
from mmkd_logit.entry_point import resumable, run_tool

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint, or from the latest in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train with automatic mixed precision'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size of all processes',
    )
    return parser.parse_args(argv)


def apply_args(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the training arguments to the config."""
    from mmengine.device import get_device

    if cfg.get('optim_wrapper') is None or cfg.get('train_dataloader') is None:
        raise ValueError(
            f'{args.config} has no optim_wrapper or no train_dataloader: it is meant '
            'for testing only.'
        )
    if args.amp:
        if get_device() == 'cpu':
            raise ValueError('--amp: mmengine supports mixed precision on GPUs only.')
        kind = str(cfg.optim_wrapper.get('type'))
        ours = [name for name in ('GradAlign', 'DOT') if name in kind]
        prefix = f'mmkd_logit.{ours[0]}' if ours else ''
        cfg.optim_wrapper.type = f'{prefix}AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if (cfg.get('auto_scale_lr') or {}).get('base_batch_size') is None:
            raise ValueError(
                '--auto-scale-lr needs auto_scale_lr.base_batch_size in '
                f'{args.config}, the batch size that its learning rate is meant for.'
            )
        cfg.auto_scale_lr.enable = True
    cfg.setdefault('resume', False)  # readers of the log rely on it
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume


def stopped(work_dir: str) -> str:
    """Say how to go on after Ctrl-C or SIGTERM."""
    from mmkd_logit.apis import latest_checkpoint

    latest = latest_checkpoint(work_dir)
    if latest is None:
        return 'Stopped, before the first checkpoint was saved.'
    if not Path(latest).is_file():  # mmengine removes the oldest one before it saves
        return f'Stopped, while {latest} was being replaced: it cannot be resumed.'
    return f'Stopped. The same command with --resume continues from {latest}.'


def draw(work_dir: Path) -> Path | None:
    """Draw the metrics of a run; return None if it has logged none."""
    from mmkd_logit.visualization import RunLog, plot_curves, read_curves

    try:
        panels, _ = read_curves({work_dir.name: [RunLog(work_dir)]}, None)
    except (FileNotFoundError, ValueError):  # no local log, or no validation
        return None
    picture = work_dir / 'curves.png'
    plot_curves(panels).savefig(picture, dpi=110)
    return picture


def last_metrics(runner: Runner) -> dict[str, float]:
    """Return the metrics of the last validation."""
    return {
        name.removeprefix('val/'): values.current()
        for name, values in runner.message_hub.log_scalars.items()
        if name.startswith('val/') and not name.endswith('time')
    }


def point_on(runner: Runner, args: argparse.Namespace) -> None:
    """Print where the student, log and picture are, and which commands to run next."""
    from mmkd_logit.apis import next_steps
    from mmkd_logit.engine import ExportStudentHook

    work_dir, log_dir = Path(runner.work_dir), Path(runner.log_dir)
    if any(isinstance(hook, ExportStudentHook) for hook in runner.hooks):
        weights = work_dir / 'student_last.pth'
    else:
        weights = Path(runner.message_hub.runtime_info.get('last_ckpt', ''))
    if not weights.is_file():
        return
    steps = next_steps(
        tools=Path(sys.argv[0]).parent,
        config=work_dir / Path(args.config).name,
        weights=weights,
        log=log_dir / f'{log_dir.name}.log',
        picture=draw(work_dir),
        again=None if args.cfg_options else args.config,
        metrics=last_metrics(runner),
    )
    print(steps)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from mmengine.dist import is_main_process

    from mmkd_logit.apis import (
        build_runner,
        check_data,
        check_resume,
        latest_checkpoint,
        read_config,
    )

    cfg = read_config(args)
    apply_args(cfg, args)
    if args.print_config:
        print(cfg.pretty_text)
        return 0
    check_data(cfg, ('train_dataloader', 'val_dataloader'))
    if cfg.resume:
        checkpoint = cfg.get('load_from') or latest_checkpoint(cfg.work_dir)
        if checkpoint is not None:
            check_resume(checkpoint, cfg.model)
    with resumable(lambda: stopped(cfg.work_dir)):
        runner = build_runner(cfg)
        runner.train()
    if is_main_process():
        point_on(runner, args)
    return 0


if __name__ == '__main__':
    run_tool(main)
