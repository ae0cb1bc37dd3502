"""Progress of a run, read from the end of its log."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from mmkd_logit.visualization import log_files

# Bytes; enough for several lines of a log.
_TAIL = 16_384


@dataclass
class RunProgress:
    """State of a run according to the latest lines of its log.

    Attributes:
        done (int): Current epoch or iteration.
        loss (float, optional): The latest loss.
        metric (float, optional): The latest value of the metric.
    """

    done: int = 0
    loss: float | None = None
    metric: float | None = None


def read_progress(work_dir: Path, metric: str) -> RunProgress:
    """Read the progress of a run.

    Args:
        work_dir (Path): Its work dir.
        metric (str): Name of the metric, as it is logged.

    Returns:
        RunProgress: The values found so far.
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
