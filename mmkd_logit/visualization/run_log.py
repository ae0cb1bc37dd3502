"""Logged values of runs, with several seeds combined."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

# Logged together with the values, but not values to plot.
_BOOKKEEPING = ('step', 'epoch', 'iter', 'time', 'data_time', 'memory', 'eta')


@dataclass(frozen=True)
class Curve:
    """One logged quantity of one or several runs.

    Attributes:
        steps (np.ndarray): Steps at which it was logged, shape (S,).
        values (np.ndarray): Logged values, shape (runs, S).
        unit (str): Unit of the steps: 'epoch' or 'iteration'.
    """

    steps: np.ndarray
    values: np.ndarray
    unit: str

    @property
    def mean(self) -> np.ndarray:
        """Mean over the runs, shape (S,)."""
        return self.values.mean(0)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation over the runs, by runs - 1; 0 for a single run."""
        runs = len(self.values)
        return self.values.std(0, ddof=1) if runs > 1 else np.zeros_like(self.mean)

    def averaged(self, count: int) -> Curve:
        """Average every ``count`` consecutive values, to reduce the noise of batches.

        Args:
            count (int): Number of values per mean, 1 or more. The last mean may be over
                fewer.

        Returns:
            Curve: The means, at the means of the steps.
        """
        if count == 1:
            return self
        starts = np.arange(0, len(self.steps), count)
        sizes = np.diff([*starts, len(self.steps)])
        return Curve(
            np.add.reduceat(self.steps, starts) / sizes,
            np.add.reduceat(self.values, starts, axis=1) / sizes,
            self.unit,
        )


def log_files(work_dir: Path) -> list[Path]:
    """Find the log files of a run, one for each time that it was started.

    Args:
        work_dir (Path): Its work dir.

    Returns:
        list[Path]: In order of start.
    """
    return sorted(work_dir.glob('*/vis_data/scalars.json'))


class RunLog:
    """The values that a run has logged in its work dir.

    Args:
        work_dir (str | Path): The work dir. The logs of a resumed run are joined; if a
            step was trained twice, the later one counts. A run that started afresh in
            the same folder replaces the previous one.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no log.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.work_dir = Path(work_dir)
        if not self.work_dir.is_dir():
            raise FileNotFoundError(
                f'The work dir {str(work_dir)!r} does not exist (looked in '
                f'{Path.cwd()}).'
            )
        files = log_files(self.work_dir)
        if not files:
            raise FileNotFoundError(
                f'{str(work_dir)!r} holds no log of a training '
                '(<time>/vis_data/scalars.json). Name the --work-dir of a run, whose '
                'config has a LocalVisBackend in its visualizer.'
            )
        self._forget()
        for file in files:
            self._read(file)

    def _forget(self) -> None:
        self._points: dict[str, dict[int, float]] = {}
        self._iterations: set[str] = set()
        self._validated: dict[str, None] = {}
        self._times: dict[int, float] = {}
        self._last_epoch: int | None = None
        self._first_iteration: int | None = None

    def _read(self, file: Path) -> None:
        # The last line of a killed run may be incomplete.
        lines = file.read_text().rpartition('\n')[0].splitlines()
        logs = [json.loads(line) for line in lines]
        first = next((int(log['iter']) for log in logs if 'iter' in log), None)
        again = first is not None and first <= (self._first_iteration or 0)
        if again or not _was_resumed(file):
            self._forget()
        self._first_iteration = self._first_iteration or first
        found: dict[str, dict[int, float]] = {}
        for log in logs:
            keys = [
                key
                for key, value in log.items()
                if key not in _BOOKKEEPING and isinstance(value, int | float)
            ]
            for key in keys:
                found.setdefault(key, {})[int(log['step'])] = float(log[key])
            if 'epoch' in log:
                self._last_epoch = max(self._last_epoch or 0, int(log['epoch']))
            if 'iter' in log:
                self._iterations.update(keys)
                if 'time' in log:
                    self._times[int(log['iter'])] = float(log['time'])
            elif 'time' in log:
                self._validated.update(dict.fromkeys(keys))
        for key, points in found.items():
            before = self._points.get(key, {})
            kept = {step: before[step] for step in before if step < min(points)}
            self._points[key] = kept | points

    @property
    def keys(self) -> list[str]:
        """Names of all logged values, in order."""
        return list(self._points)

    @property
    def metrics(self) -> list[str]:
        """Names of the validation metrics."""
        return list(self._validated)

    @property
    def step_seconds(self) -> float | None:
        """Median time of a training step with data loading; None if not logged."""
        return float(np.median(list(self._times.values()))) if self._times else None

    @property
    def steps_per_epoch(self) -> float | None:
        """Number of training steps per epoch; None for an iteration-based loop."""
        if not self._last_epoch or not self._times:
            return None
        return max(self._times) / self._last_epoch

    def points(self, key: str) -> dict[int, float]:
        """Return the logged values by step.

        Args:
            key (str): The name of the value.

        Returns:
            dict[int, float]: In ascending order of steps.

        Raises:
            KeyError: If nothing was logged under this name.
        """
        return dict(sorted(self._points[key].items()))

    def unit(self, key: str) -> str:
        """Return the unit of a value's steps: 'epoch' or 'iteration'."""
        # Known for losses; for other values, inferred: there are fewer epochs.
        if self._last_epoch is None or key in self._iterations:
            return 'iteration'
        return 'epoch' if max(self._points[key]) <= self._last_epoch else 'iteration'


def _was_resumed(file: Path) -> bool:
    """Return whether the config that mmengine dumps beside a log says so."""
    config = file.with_name('config.py')
    # Without it, the iterations alone decide.
    if not config.is_file():
        return True
    return re.search('^resume = False$', config.read_text(), re.M) is None


def find_keys(runs: Sequence[RunLog], patterns: Sequence[str] | None) -> list[str]:
    """Find the names of logged values that match patterns.

    Args:
        runs (Sequence[RunLog]): The runs.
        patterns (Sequence[str], optional): Names, with ``*`` for any text. None means
            the validation metrics.

    Returns:
        list[str]: The names, in the order of the patterns, without repetition.

    Raises:
        ValueError: If a pattern matches no logged name. The message lists all names.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.keys))
    if patterns is None:
        keys = list(dict.fromkeys(key for run in runs for key in run.metrics))
        if not keys:
            raise ValueError(
                'No run has validated yet, so there is no metric to plot by default. '
                f'Choose with --keys from {", ".join(known)}.'
            )
        return keys
    keys = []
    for pattern in patterns:
        fitting = [key for key in known if fnmatchcase(key, pattern)]
        if not fitting:
            raise ValueError(f'No run has logged {pattern!r}, only {", ".join(known)}.')
        keys += fitting
    return list(dict.fromkeys(keys))


def read_curve(runs: Sequence[RunLog], key: str) -> Curve | None:
    """Read one logged value of runs that belong together, such as seeds of a config.

    Args:
        runs (Sequence[RunLog]): The runs.
        key (str): Name of the value.

    Returns:
        Curve | None: None if no run has logged it.

    Raises:
        ValueError: If the runs have not logged it at the same steps.
    """
    having = [run for run in runs if key in run.keys]
    if not having:
        return None
    steps = [list(run.points(key)) if run in having else [] for run in runs]
    for run, each in zip(runs, steps):
        if each != steps[0]:
            raise ValueError(
                f'Runs of one label must have logged {key} at the same steps, but '
                f'{_describe(runs[0], steps[0])} and {_describe(run, each)}. Wait for '
                'the shorter one, leave it out, or give it its own label.'
            )
    values = [list(run.points(key).values()) for run in runs]
    return Curve(np.array(steps[0]), np.array(values), runs[0].unit(key))


def read_curves(
    groups: Mapping[str, Sequence[RunLog]],
    patterns: Sequence[str] | None,
    average: int = 1,
) -> tuple[dict[str, dict[str, Curve]], list[dict[str, Any]]]:
    """Read logged values of several groups of runs.

    Args:
        groups (Mapping[str, Sequence[RunLog]]): Runs that belong together, by label.
        patterns (Sequence[str], optional): What to read, see :func:`find_keys`.
        average (int): Number of consecutive values to average. Defaults to 1.

    Returns:
        tuple: Curves by key and label, and the same as rows of a table. Values that a
        group has not logged are left out.

    Raises:
        ValueError: As :func:`find_keys` and :func:`read_curve` do.
    """
    curves: dict[str, dict[str, Curve]] = {}
    rows = []
    for key in find_keys([run for runs in groups.values() for run in runs], patterns):
        for label, runs in groups.items():
            curve = read_curve(runs, key)
            if curve is None:
                continue
            curve = curve.averaged(average)
            curves.setdefault(key, {})[label] = curve
            rows += [
                {
                    'key': key,
                    'label': label,
                    'unit': curve.unit,
                    'step': step,
                    'mean': mean,
                    'standard deviation': deviation if len(runs) > 1 else '',
                    'runs': len(runs),
                }
                for step, mean, deviation in zip(
                    curve.steps, curve.mean, curve.deviation
                )
            ]
    return curves, rows


def _describe(run: RunLog, steps: Sequence[int]) -> str:
    last = f', the last at {steps[-1]}' if steps else ''
    return f'{run.work_dir} has {len(steps)} values{last}'
