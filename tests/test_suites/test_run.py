"""When a run is done, goes on, or is another one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_runs import write_run

from mmkd_logit.suites import Row, Run, StoreRun, Suite, plan_runs


@pytest.fixture
def suite(config: Path, distiller: Path) -> Suite:
    rows = [Row('plain', config), Row('KD', distiller)]
    teacher = Row('teacher', config, {'optim_wrapper.optimizer.lr': 0.1})
    return Suite('mine', rows, [0, 1], 'accuracy/top1', 'plain', teacher)


def test_plan(suite: Suite, tmp_path: Path) -> None:
    runs = plan_runs(suite, tmp_path / 'runs')
    assert [run.name for run in runs] == [
        'teacher, seed 0',
        'plain, seed 0',
        'plain, seed 1',
        'KD, seed 0',
        'KD, seed 1',
    ]
    assert len({run.work_dir for run in runs}) == 5
    teacher, plain, _, distilled, _ = runs
    assert plain.work_dir == tmp_path / 'runs' / 'plain' / 'small' / 'seed0'
    assert (plain.teacher, distilled.teacher) == (None, teacher)
    assert plain.length == 3
    assert not any(run.done for run in runs)


def test_rows_on_the_same_images_share_stored_logits(
    suite: Suite, distiller: Path, tmp_path: Path
) -> None:
    rows = [
        *suite.rows,
        Row('KD, tau 1', distiller, {'model.losses.kd.tau': 1.0}),
        Row('KD, fit', distiller, {'train_dataloader.dataset.split': 'fit'}),
    ]
    plain = replace(suite, rows=rows, seeds=[0])
    views = plain.with_options({'model.teacher.views': 4})
    live = plan_runs(views, tmp_path / 'runs')
    runs = plan_runs(views, tmp_path / 'runs', stored=True)
    stores = [run for run in runs if isinstance(run, StoreRun)]
    students = [run for run in runs if run not in stores]
    assert [run.name for run in students] == [run.name for run in live]
    # From a store or not, it is the same run; without views it is another.
    assert [run.made_from for run in students] == [run.made_from for run in live]
    without = plan_runs(plain, tmp_path / 'runs')
    assert [a.work_dir == b.work_dir for a, b in zip(live, without)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [run.store for run in students] == [
        None,
        None,
        stores[0],
        stores[0],
        stores[1],
    ]
    teacher = students[0]
    assert [store.teacher for store in stores] == [teacher, teacher]
    assert (students[2].needs, stores[0].needs) == (stores[0], teacher)
    assert students[1].needs is None
    write_run(teacher, {3: 50.0})
    command = stores[1].command()
    assert command[1].endswith('cache_teacher.py')
    assert command[3:6] == [str(stores[1].folder), '--views', '4']
    assert 'train_dataloader.dataset.split=fit' in command
    assert any(word.startswith('model.teacher.checkpoint=') for word in command)
    assert f'model.teacher.cache={stores[1].folder}' in students[4].command()
    stores[0].work_dir.mkdir(parents=True)
    stores[0].write(done=True)
    assert not stores[0].done
    stores[0].folder.mkdir()
    assert stores[0].done


def test_each_pair_has_its_teacher(
    suite: Suite, config: Path, distiller: Path, tmp_path: Path
) -> None:
    own = Row('teacher b', config, {'optim_wrapper.optimizer.lr': 0.2})
    rows = [
        *suite.rows,
        Row('KD, b', distiller, {'train_cfg.max_epochs': 5}, teacher=own),
        Row('DKD, b', distiller, {'train_cfg.max_epochs': 6}, teacher=own),
    ]
    runs = plan_runs(replace(suite, rows=rows, seeds=[0]), tmp_path / 'runs')
    assert [run.name for run in runs[:2]] == ['teacher, seed 0', 'teacher b, seed 0']
    teachers = {run.row.name: run.teacher and run.teacher.row for run in runs[2:]}
    assert teachers == {
        'plain': None,
        'KD': suite.teacher,
        'KD, b': own,
        'DKD, b': own,
    }
    assert runs[3].made_from['teacher'] != runs[4].made_from['teacher']


def test_a_teacher_that_is_there_is_not_trained(
    suite: Suite, distiller: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(suite: Suite) -> list[Run]:
        return [r for r in plan_runs(suite, tmp_path / 'runs') if r.is_teacher]

    file = tmp_path / 'missing.pth'  # as the distiller's config calls it
    given = replace(
        suite, rows=[Row('KD', distiller, {'model.teacher.checkpoint': str(file)})]
    )
    assert not trained(given)
    monkeypatch.chdir(tmp_path)
    (teacher,) = trained(suite)
    file.touch()
    assert not trained(suite)
    kd = plan_runs(suite, tmp_path / 'runs')[-1]
    assert kd.made_from['model.teacher.checkpoint'] == 'missing.pth'
    # The plain student can be the same run. A teacher is what has begun to teach.
    write_run(teacher, {3: 50.0})
    assert not trained(suite)
    teacher.write(teaches=True)
    assert trained(suite) and not trained(given)
    assert teacher.done


def test_methods_share_no_folder(config: Path, tmp_path: Path) -> None:
    """Their configs for a dataset have the same names, in folders of the same name."""
    rows = []
    for method in ('kd', 'dhkd'):
        path = tmp_path / 'configs' / method / 'cifar100' / 'x.py'
        path.parent.mkdir(parents=True)
        path.write_text(config.read_text())
        rows.append(Row(method, path))
    runs = plan_runs(Suite('mine', rows, [0], 'accuracy/top1', 'kd'), tmp_path)
    folders = [run.work_dir.relative_to(tmp_path).as_posix() for run in runs]
    assert folders == ['kd/cifar100/x/seed0', 'dhkd/cifar100/x/seed0']


def test_a_folder_that_no_command_line_can_name(suite: Suite, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"--work-dir '.*my runs' must not contain spaces"
    ):
        plan_runs(suite, tmp_path / 'my runs')


def test_done_means_this_very_run(suite: Suite, tmp_path: Path) -> None:
    def plan(suite: Suite, threads: int = 1) -> dict[str, Run]:
        return {run.name: run for run in plan_runs(suite, tmp_path / 'runs', threads)}

    run = plan(suite)['KD, seed 1']
    write_run(run, {3: 50.0})
    assert run.done and not run.difference()

    again = plan(suite)['KD, seed 1']
    assert again.done
    assert not plan(suite)['KD, seed 0'].done
    assert plan(suite, 2)['KD, seed 1'].difference().startswith('threads is 2 and w')
    # A change of the config, in the same place.
    text = run.row.config.read_text().replace('tau=2.0', 'tau=4.0')
    run.row.config.write_text(text)
    changed = plan(suite)['KD, seed 1']
    assert changed.difference() == 'model.losses.kd.tau is 4.0 and was 2.0'
    assert not changed.done
    run.row.config.write_text(text.replace('tau=4.0', 'tau=2.0'))
    # Another teacher makes another student.
    assert suite.teacher is not None
    teacher = replace(suite.teacher, options={'optim_wrapper.optimizer.lr': 0.2})
    other = plan(replace(suite, teacher=teacher))['KD, seed 1']
    assert other.difference().startswith('teacher is ')
    # So does another release.
    record = json.loads((run.work_dir / 'compare.json').read_text())
    record['made_from']['version'] = '0.0.1'
    (run.work_dir / 'compare.json').write_text(json.dumps(record))
    assert 'and was 0.0.1' in plan(suite)['KD, seed 1'].difference()


def test_a_teacher_needs_its_checkpoint(suite: Suite, tmp_path: Path) -> None:
    teacher = plan_runs(suite, tmp_path / 'runs')[0]
    write_run(teacher, {3: 50.0})
    assert teacher.done
    (teacher.work_dir / 'epoch_3.pth').unlink()
    assert not teacher.done


def test_a_run_of_somebody_else(make_run: Callable) -> None:
    run = make_run('a')
    write_run(run, {3: 50.0})
    (run.work_dir / 'compare.json').unlink()
    assert run.difference() == 'it was not made by compare.py'
    for damaged in ('{"made', '[]', '{}'):
        (run.work_dir / 'compare.json').write_text(damaged)
        with pytest.raises(
            ValueError, match=r'compare.json was not written .* Move .* away'
        ):
            run.difference()


def test_goes_on_from_the_last_whole_checkpoint(make_run: Callable) -> None:
    run = make_run('a')
    assert run.checkpoint() is None
    write_run(run, {3: 50.0}, done=False)
    assert run.checkpoint() == run.work_dir / 'epoch_3.pth'
    whole = (run.work_dir / 'epoch_3.pth').read_bytes()
    (run.work_dir / 'epoch_4.pth').write_bytes(whole[:-100])  # killed while writing
    assert run.checkpoint() == run.work_dir / 'epoch_3.pth'


def test_command(suite: Suite, tmp_path: Path) -> None:
    runs = plan_runs(suite, tmp_path / 'runs')
    write_run(runs[0], {3: 50.0})
    command = runs[-1].command()
    assert command[1].endswith('tools/train.py')
    assert 'randomness.seed=1' in command
    checkpoint = runs[0].work_dir / 'epoch_3.pth'
    assert f'model.teacher.checkpoint={checkpoint}' in command
    assert '--resume' not in command
    write_run(runs[1], {1: 50.0}, done=False)
    assert runs[1].command()[-2:] == ['--resume', str(runs[1].work_dir / 'epoch_3.pth')]
    several = runs[-1].command(processes=4)
    assert '--nproc_per_node=4' in several
    assert several[several.index('--launcher') + 1] == 'pytorch'


def test_lock(make_run: Callable) -> None:
    run = make_run('a')
    held = run.lock()
    assert held is not None
    assert run.lock() is None
    held.close()
    again = run.lock()
    assert again is not None
    again.close()


def test_move_aside(make_run: Callable) -> None:
    for number in (1, 2):
        run = make_run('a')
        run.work_dir.mkdir(parents=True)
        assert run.move_aside() == run.work_dir.with_name(f'a.old{number}')
        assert not run.work_dir.exists()
