"""Runs beside one another, with scripts in place of trainings."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from mmkd_logit.suites import Run, make_slots, train_all


def train(runs: Sequence[Run], jobs: int = 2) -> tuple[dict[str, str], str]:
    output = io.StringIO()
    console = Console(file=output)
    slots = make_slots(jobs, threads=1)
    return train_all(runs, slots, 'accuracy/top1', console), output.getvalue()


def history(run: Run) -> list[list[str]]:
    lines = (run.work_dir / 'history').read_text().splitlines()
    return [line.split() for line in lines]


def span(run: Run) -> tuple[float, float]:
    first, *_, last = history(run)
    return float(first[-1]), float(last[-1])


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(make_slots(3, 1)) == 3
    cores = len(os.sched_getaffinity(0))
    assert len(make_slots(None, 1)) == cores
    assert len(make_slots(None, 10 * cores)) == 1
    assert make_slots(1, 4)[0].environment['OMP_NUM_THREADS'] == '4'
    pairs = make_slots(None, 1, ['0', '1', '5'], 2)
    assert [slot.environment['CUDA_VISIBLE_DEVICES'] for slot in pairs] == ['0,1']
    assert pairs[0].processes == 2
    assert len(make_slots(2, 1, ['0', '1', '2'])) == 2
    for arguments, message in (
        ((0, 1), '--jobs must be 1'),
        ((1, 0), '--threads must be 1'),
        ((1, 1, ['0', '0']), 'different GPUs'),
        ((1, 1, ['0'], 2), 'must name 2 or more different GPUs, but got 0'),
        ((1, 1, [], 2), 'needs --gpus'),
    ):
        with pytest.raises(ValueError, match=message):
            make_slots(*arguments)


def test_the_teacher_comes_first_and_jobs_overlap(make_run: Callable) -> None:
    teacher = make_run('teacher', is_teacher=True)
    plain, kd = make_run('plain'), make_run('kd', teacher=teacher)
    failures, output = train([teacher, plain, kd])
    assert not failures
    assert span(kd)[0] > span(teacher)[1]
    assert span(plain)[0] < span(teacher)[1]  # it needs no teacher
    assert 'kd, seed 0: done in' in output and 'top1 52.00 (3 of 3)' in output
    assert history(kd)[0][:2] == ['began', '1']
    assert all(run.done for run in (teacher, plain, kd))
    assert teacher.record()['teaches'] and 'teaches' not in plain.record()
    # What is done is not trained again.
    assert train([teacher, plain, kd]) == ({}, '')


def test_failures_are_told_and_the_others_go_on(make_run: Callable) -> None:
    teacher = make_run('teacher', how='fail', is_teacher=True)
    plain, kd = make_run('plain'), make_run('kd', teacher=teacher)
    failures, output = train([teacher, kd, plain], jobs=1)
    assert list(failures) == ['teacher, seed 0', 'kd, seed 0']
    assert 'no such thing' in failures['teacher, seed 0']
    assert failures['kd, seed 0'] == 'it needs teacher, seed 0, which failed'
    assert plain.done and not teacher.done
    assert 'teacher, seed 0: failed' in output
    teacher.how = 'end'
    assert train([teacher, kd, plain])[0] == {}
    assert history(teacher)[1][0] == 'resumed'


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler; a shell lets jobs in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_stops_the_jobs_and_they_go_on(
    make_run: Callable, ctrl_c: None
) -> None:
    runs = [make_run('a', how='wait'), make_run('b', how='wait')]

    def interrupt() -> None:
        while not all((run.work_dir / 'epoch_1.pth').exists() for run in runs):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        train(runs)
    for run in runs:
        lock = run.lock()
        assert lock is not None  # nobody holds it: the process is gone
        lock.close()
    assert train(runs)[0] == {}
    for run in runs:
        assert [line[0] for line in history(run)] == ['began', 'resumed', 'ended']
        assert run.log().points('accuracy/top1') == {1: 51.0, 2: 52.0}


def test_a_run_that_another_process_trains_is_waited_for(make_run: Callable) -> None:
    run = make_run('a')
    # As compare.py leaves it that was killed: the training goes on, and holds the lock.
    held = run.lock()
    assert held is not None
    process = subprocess.Popen(
        [sys.executable, '-c', 'input()'],
        stdin=subprocess.PIPE,
        pass_fds=[held.fileno()],
    )
    held.close()
    timer = threading.Timer(1.0, process.communicate, [b'\n'])
    timer.start()
    failures, output = train([run])
    timer.join()
    assert not failures and run.done
    assert 'another process is training it; waiting' in output
    assert process.returncode == 0


def test_bars_on_a_terminal(make_run: Callable, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    run = make_run('a')
    train_all([run], make_slots(1, 1), 'accuracy/top1', console)
    assert 'loss 1' in output.getvalue()
    assert '100%' in output.getvalue()
