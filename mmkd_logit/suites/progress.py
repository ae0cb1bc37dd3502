"""How far a run is, from the end of its log."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from mmkd_logit.visualization import log_files

# More than the lines of a few logs.
_TAIL = 16_384


@dataclass
class RunProgress:
    """What the latest lines of a log say.

    Attributes:
        done (int): Number of the epoch or iteration that it is at.
        loss (float, optional): The latest loss.
        metric (float, optional): The latest value of the metric.
    """

    done: int = 0
    loss: float | None = None
    metric: float | None = None


def read_progress(work_dir: Path, metric: str) -> RunProgress:
    """How far a run is.

    Args:
        work_dir (Path): Its work dir.
        metric (str): Name of the metric, as it is logged.

    Returns:
        RunProgress: With what is there.
    """
    progress = RunProgress()
    logs = log_files(work_dir)
    if not logs:
        return progress
    with logs[-1].open('rb') as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        lines = file.read().decode(errors='replace').split('\n')
    for line in lines:
        try:
            log = json.loads(line)
        except ValueError:  # cut off at either end
            continue
        if not isinstance(log, dict):
            continue
        if 'iter' in log:
            progress.done = log['epoch'] if 'epoch' in log else log['iter']
            progress.loss = log.get('loss', progress.loss)
        progress.metric = log.get(metric, progress.metric)
    return progress
