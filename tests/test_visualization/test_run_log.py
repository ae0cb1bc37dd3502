from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmkd_logit.visualization import Curve, RunLog, find_keys, read_curve

Write = Callable[..., RunLog]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Log epochs of ten iterations as a Runner does; return what is read."""

    def make(
        name: str, epochs: range = range(1, 4), time: str = '20260101_000000'
    ) -> RunLog:
        path = tmp_path / name / time / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        logs = []
        for epoch in epochs:
            for i in (10 * epoch - 5, 10 * epoch):
                logs.append({'lr': 0.1, 'loss': 1 / i, 'time': 0.5, 'data_time': 0.1})
                logs[-1] |= {'epoch': epoch, 'iter': i, 'memory': 9, 'step': i}
            logs.append({'nc/nc1': 5.0 - epoch, 'step': epoch})
            logs.append({'grad_cos/layer1': -0.1 * epoch, 'step': 10 * epoch})
            logs.append({'acc': 50.0 + epoch, 'time': 0.1, 'step': epoch})
        path.write_text('\n'.join([*map(json.dumps, logs), '']))
        return RunLog(tmp_path / name)

    return make


def test_values_and_units(write: Write) -> None:
    run = write('a')
    assert run.keys == ['lr', 'loss', 'nc/nc1', 'grad_cos/layer1', 'acc']
    assert run.metrics == ['acc']
    assert run.points('acc') == {1: 51.0, 2: 52.0, 3: 53.0}
    assert list(run.points('loss')) == [5, 10, 15, 20, 25, 30]
    assert run.points('loss')[20] == 1 / 20
    units = {key: run.unit(key) for key in run.keys}
    assert units == {
        'lr': 'iteration',
        'loss': 'iteration',
        'nc/nc1': 'epoch',
        'grad_cos/layer1': 'iteration',
        'acc': 'epoch',
    }


def test_a_loop_over_iterations_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    logs = [
        {'loss': 1.0, 'time': 0.5, 'iter': 50, 'step': 50},
        {'mIoU': 40.0, 'time': 0.1, 'step': 50},
    ]
    path.write_text('\n'.join([*map(json.dumps, logs), '{"loss": 0.5, "st']))
    run = RunLog(tmp_path)
    assert run.points('loss') == {50: 1.0}
    assert (run.metrics, run.unit('mIoU')) == (['mIoU'], 'iteration')


def test_a_resumed_run_is_one_run(write: Write) -> None:
    write('a', range(1, 4), '20260101_000000')
    run = write('a', range(3, 6), '20260102_000000')
    assert list(run.points('acc')) == [1, 2, 3, 4, 5]
    assert list(run.points('loss')) == list(range(5, 51, 5))


def test_a_run_begun_anew_with_a_coarser_log_interval(tmp_path: Path) -> None:
    """Its first logged iteration is later than the first of the older run."""
    for time, resumed, iterations in (
        ('20260101_000000', False, (10, 20, 30)),
        ('20260102_000000', False, (50, 100)),
        ('20260103_000000', True, (150,)),
    ):
        folder = tmp_path / time / 'vis_data'
        folder.mkdir(parents=True)
        # As mmengine dumps it.
        (folder / 'config.py').write_text(f'load_from = None\nresume = {resumed}\n')
        logs = [{'loss': 1.0, 'time': 0.5, 'iter': i, 'step': i} for i in iterations]
        (folder / 'scalars.json').write_text(
            ''.join(json.dumps(log) + '\n' for log in logs)
        )
    assert list(RunLog(tmp_path).points('loss')) == [50, 100, 150]


def test_a_run_from_the_start_replaces_the_older(write: Write) -> None:
    write('a', range(1, 9), '20260101_000000')
    run = write('a', range(1, 3), '20260102_000000')
    assert list(run.points('acc')) == [1, 2]
    anew = run.work_dir / '20260103_000000' / 'vis_data' / 'scalars.json'
    anew.parent.mkdir(parents=True)
    anew.write_text('{"loss": 1.0, "epoch": 1, "iter": 5, "step": 5}\n')
    run = RunLog(run.work_dir)
    assert run.keys == ['loss'] and run.points('loss') == {5: 1.0}
    assert run.metrics == []


def test_keys_are_found_by_patterns(write: Write) -> None:
    runs = [write('a')]
    assert find_keys(runs, None) == ['acc']
    assert find_keys(runs, ['nc/*', 'acc', '*a*']) == [
        'nc/nc1',
        'acc',
        'grad_cos/layer1',
    ]
    there = 'only lr, loss, nc/nc1, grad_cos/layer1, acc'
    with pytest.raises(ValueError, match=f"logged 'accuracy'. {there}"):
        find_keys(runs, ['loss', 'accuracy'])


def test_no_metric_yet(tmp_path: Path) -> None:
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('{"loss": 1.0, "iter": 5, "epoch": 1, "time": 1.0, "step": 5}\n')
    with pytest.raises(ValueError, match='No run has validated yet.*from loss'):
        find_keys([RunLog(tmp_path)], None)


def test_curves_of_several_runs(write: Write) -> None:
    runs = [write('a'), write('b')]
    runs[1]._points['acc'] = {1: 53.0, 2: 52.0, 3: 49.0}
    curve = read_curve(runs, 'acc')
    assert curve is not None
    np.testing.assert_array_equal(curve.steps, [1, 2, 3])
    np.testing.assert_allclose(curve.mean, [52, 52, 51])
    # (51, 53), (52, 52), (53, 49)
    np.testing.assert_allclose(curve.deviation, [2**0.5, 0, 8**0.5])
    assert read_curve(runs, 'nothing') is None
    one = read_curve(runs[:1], 'acc')
    assert one is not None and (one.deviation == 0).all()


def test_runs_of_different_length(write: Write) -> None:
    runs = [write('a'), write('b', range(1, 3))]
    message = (
        r'acc at the same steps, but .*a has 3 values, the last at 3 and .*b has 2'
    )
    with pytest.raises(ValueError, match=message):
        read_curve(runs, 'acc')
    del runs[1]._points['acc']
    with pytest.raises(ValueError, match='b has 0 values. Wait for the shorter one'):
        read_curve(runs, 'acc')


def test_averaged() -> None:
    values = np.array([[1.0, 3.0, 5.0, 7.0, 20.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    curve = Curve(np.array([10, 20, 30, 40, 50]), values, 'iteration').averaged(2)
    np.testing.assert_allclose(curve.steps, [15, 35, 50])
    np.testing.assert_allclose(curve.values, [[2, 6, 20], [0, 0, 1]])


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="work dir 'nowhere' does not exist"):
        RunLog('nowhere')
    with pytest.raises(FileNotFoundError, match='holds no log of a training'):
        RunLog(tmp_path)
