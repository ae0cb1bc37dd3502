"""Parallel training runs, and their supervision."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mmkd_logit.suites.progress import read_progress
from mmkd_logit.suites.run import Run

# Seconds between two checks of the processes, and seconds that they have to end.
_LOOK, _GRACE = 0.2, 10.0


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time.

    Attributes:
        environment (dict[str, str]): Environment variables of its processes.
        processes (int): Number of processes of a job, one per GPU.
    """

    environment: Mapping[str, str]
    processes: int = 1


def make_slots(
    jobs: int | None,
    threads: int,
    gpus: Sequence[str] = (),
    gpus_per_job: int = 1,
) -> list[Slot]:
    """Make slots for jobs, on CPU threads or GPUs that they do not share.

    Args:
        jobs (int, optional): Maximum number of jobs at a time. None: as many as there
            are cores for their threads, or GPUs.
        threads (int): Number of CPU threads per process.
        gpus (list[str]): Numbers of the GPUs. Defaults to none: jobs see the devices
            of this process.
        gpus_per_job (int): Number of GPUs per job. Defaults to 1.

    Returns:
        list[Slot]: At least one slot.

    Raises:
        ValueError: If a number is not positive, GPUs repeat, or there are too few.
    """
    for name, number in (
        ('--jobs', 1 if jobs is None else jobs),
        ('--threads', threads),
        ('--gpus-per-job', gpus_per_job),
    ):
        if number < 1:
            raise ValueError(f'{name} must be 1 or more, but got {number}.')
    alone = {name: str(threads) for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')}
    if not gpus:
        if gpus_per_job > 1:
            raise ValueError(
                f'--gpus-per-job {gpus_per_job} needs --gpus, such as --gpus 0,1,2,3.'
            )
        cores = len(os.sched_getaffinity(0))
        return [Slot(alone)] * (jobs or max(1, cores // threads))
    if len(set(gpus)) < len(gpus) or len(gpus) < gpus_per_job:
        raise ValueError(
            f'--gpus must name {gpus_per_job} or more different GPUs, but got '
            f'{",".join(gpus)}.'
        )
    starts = range(0, len(gpus) - gpus_per_job + 1, gpus_per_job)
    parts = [','.join(gpus[start : start + gpus_per_job]) for start in starts]
    slots = [Slot({**alone, 'CUDA_VISIBLE_DEVICES': p}, gpus_per_job) for p in parts]
    return slots[:jobs]


@dataclass
class _Job:
    run: Run
    slot: Slot
    process: subprocess.Popen
    began: float

    def stop(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


def train_all(
    runs: Iterable[Run], slots: Sequence[Slot], metric: str, console: Console
) -> dict[str, str]:
    """Train all runs that are not done yet.

    Ctrl-C, or any other exception, stops all jobs; the next call resumes them. A failed
    run does not affect the others, except those that need its checkpoint.

    Args:
        runs (list[Run]): The runs: a teacher before its students, these before probes.
        slots (list[Slot]): Where they run.
        metric (str): Metric to show during training.
        console (Console): Where to show progress. A terminal gets progress bars.

    Returns:
        dict[str, str]: Names of the runs that failed, each with the reason.
    """
    waiting = [run for run in runs if not run.done]
    free, jobs = list(slots), list[_Job]()
    failures: dict[str, str] = {}
    display = _Display(console, metric, len(waiting))
    try:
        with display.bars:
            while waiting or jobs:
                to_come = {run.name for run in [*waiting, *(job.run for job in jobs)]}
                for run in list(waiting):
                    needed = '' if run.needs is None else run.needs.name
                    if needed in failures:
                        failures[run.name] = f'it needs {needed}, which failed'
                        waiting.remove(run)
                    elif free and needed not in to_come:
                        _start(run, waiting, free, jobs, display)
                time.sleep(_LOOK)
                for job in list(jobs):
                    if job.process.poll() is None:
                        display.show(job.run)
                        continue
                    jobs.remove(job)
                    free.append(job.slot)
                    _end(job, failures, display)
    finally:
        _stop(jobs)
    return failures


def _start(
    run: Run,
    waiting: list[Run],
    free: list[Slot],
    jobs: list[_Job],
    display: _Display,
) -> None:
    lock = run.lock()
    if lock is None:
        display.say_once(f'{run.name}: another process is training it; waiting')
        return
    waiting.remove(run)
    if run.done:  # by that process
        lock.close()
        return
    slot = free.pop(0)
    process = run.start(slot.environment, slot.processes, lock)
    jobs.append(_Job(run, slot, process, time.monotonic()))
    display.begin(run)


def _end(job: _Job, failures: dict[str, str], display: _Display) -> None:
    run, seconds = job.run, time.monotonic() - job.began
    if job.process.returncode == 0:
        before = run.record().get('seconds', 0.0)
        run.write(done=True, seconds=round(before + seconds, 1))
        display.end(run, f'done in {seconds:.0f} s')
    else:
        failures[run.name] = (
            f'exit code {job.process.returncode}; the end of '
            f'{run.work_dir / "compare.log"}:\n{run.last_words()}'
        )
        display.end(run, 'failed')


def _stop(jobs: Iterable[_Job]) -> None:
    jobs = list(jobs)
    for job in jobs:
        job.stop(signal.SIGTERM)
    for job in jobs:
        try:
            job.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            job.stop(signal.SIGKILL)
            job.process.wait()


class _Display:
    """A progress bar per job or, without a terminal, a line at its start and end."""

    def __init__(self, console: Console, metric: str, count: int) -> None:
        self._console = console
        self._metric = metric
        self._count = count
        self._ended = 0
        self._said: set[str] = set()
        self._tasks: dict[str, Any] = {}
        self.bars = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            TextColumn('{task.percentage:>3.0f}%  {task.fields[log]}'),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._print(message)

    def begin(self, run: Run) -> None:
        self._tasks[run.name] = self.bars.add_task(run.name, total=run.length, log='')
        if not self._console.is_terminal:
            self._print(f'{run.name}: in {run.work_dir}')

    def show(self, run: Run) -> None:
        if not self._console.is_terminal:
            return
        found = read_progress(run.work_dir, self._metric)
        values = {'loss': found.loss, self._metric: found.metric}
        log = '  '.join(f'{k} {v:.4g}' for k, v in values.items() if v is not None)
        self.bars.update(self._tasks[run.name], completed=found.done, log=log)

    def end(self, run: Run, how: str) -> None:
        self.bars.remove_task(self._tasks.pop(run.name))
        self._ended += 1
        found = read_progress(run.work_dir, self._metric).metric
        value = '' if found is None else f', {self._metric} {found:.2f}'
        self._print(f'{run.name}: {how}{value} ({self._ended} of {self._count})')

    def _print(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)
