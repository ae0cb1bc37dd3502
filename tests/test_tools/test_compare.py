"""A suite from its file to its table, also when it is killed on the way."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_lines import CONFIGS, REPO, attempt, call, run

COMPARE = (sys.executable, REPO / 'tools' / 'compare.py')
SUITE = f"""
teacher = {str(CONFIGS / 'baseline/res20_digits.py')!r}
rows = {{
    'plain': {str(CONFIGS / 'baseline/res8_digits.py')!r},
    'DHKD': {str(CONFIGS / 'dhkd/res20_res8_digits.py')!r},
}}
seeds = [0, 1]
options = {{
    'train_cfg.max_epochs': 2,
    'train_cfg.val_interval': 1,
    'default_hooks.teacher_check': None,
}}
"""


@pytest.fixture(scope='module')
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder in which the suite was trained, and what the tool printed."""
    cwd = tmp_path_factory.mktemp('compare')
    (cwd / 'mine.py').write_text(SUITE)
    result = run(*COMPARE, 'mine.py', '--jobs', '2', '--curves', cwd=cwd, timeout=240)
    return cwd, result.stdout


def results(cwd: Path) -> dict:
    return json.loads((cwd / 'work_dirs/compare/mine/results.json').read_text())


def metrics(cwd: Path) -> dict[tuple[str, str], dict[str, float]]:
    """The curve of each row and seed."""
    return {
        (line['name'], seed): result['curve']
        for line in results(cwd)['lines']
        for seed, result in line['results'].items()
    }


def test_table(compared: tuple[Path, str]) -> None:
    cwd, output = compared
    report = results(cwd)
    out = cwd / 'work_dirs' / 'compare' / 'mine'
    rows = list(csv.DictReader((out / 'table.csv').open()))
    assert [(row['row'], row['seed']) for row in rows] == [
        ('teacher', '0'),
        *((name, seed) for name in ('plain', 'DHKD') for seed in '01'),
    ]
    curve = metrics(cwd)['DHKD', '1']
    assert list(curve) == ['1', '2']
    assert float(rows[-1]['last']) == curve['2']
    assert report['made_with']['threads'] == 1
    means = {
        line['name']: sum(r['curve']['2'] for r in line['results'].values()) / 2
        for line in report['lines']
    }
    best = max(means, key=means.__getitem__)
    seed = max('01', key=lambda seed: metrics(cwd)[best, seed]['2'])
    value = metrics(cwd)[best, seed]['2']
    assert f'the best student: {best}, seed {seed}, accuracy/top1 {value:.2f}' in output
    for cell in (out / 'table.md').read_text().split('|'):
        assert cell.strip().strip('-:') in output
    for picture in ('table.png', 'curves.png'):
        assert (out / picture).read_bytes().startswith(b'\x89PNG')


def test_what_is_done_is_not_trained_again(compared: tuple[Path, str]) -> None:
    cwd, _ = compared
    before = (cwd / 'work_dirs/compare/mine/table.csv').read_text()
    dry = run(*COMPARE, 'mine.py', '--seeds', '0', '1', '2', '--dry-run', cwd=cwd)
    assert '2 of 7 runs to do; about' in dry.stdout
    assert 'plain, seed 2: new, about' in dry.stdout
    again = run(*COMPARE, 'mine.py', cwd=cwd)
    assert ' of 5)' not in again.stdout
    assert (cwd / 'work_dirs/compare/mine/table.csv').read_text() == before


def test_a_work_dir_of_another_config(compared: tuple[Path, str]) -> None:
    cwd, _ = compared
    result = attempt(*COMPARE, 'mine.py', '--threads', '2', cwd=cwd)
    assert result.returncode == 2
    last = result.stdout.splitlines()[-1]
    assert 'seed0 holds another run than teacher, seed 0 is now' in last
    assert 'threads is 2 and was 1. Use --restart' in last
    dry = run(*COMPARE, 'mine.py', '--threads', '2', '--dry-run', cwd=cwd)
    assert (
        'plain, seed 1: needs --restart: the work dir holds another run, in'
        in dry.stdout
    )
    assert '5 of 5 runs to do' in dry.stdout


def kill_one_job(cwd: Path) -> None:
    for process in Path('/proc').glob('[0-9]*'):
        try:
            inside = (process / 'cwd').readlink() == cwd
        except OSError:
            continue
        if inside:
            os.kill(int(process.name), signal.SIGKILL)
            return
    raise AssertionError('compare.py took its jobs with it')


def test_killed_at_any_moment_the_table_is_the_same(
    compared: tuple[Path, str], tmp_path: Path
) -> None:
    cwd, _ = compared
    (tmp_path / 'mine.py').write_text(SUITE.replace('[0, 1]', '[1]'))
    arguments = [str(each) for each in (*COMPARE, 'mine.py', '--jobs', '2')]
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    first = 'work_dirs/compare/baseline/res8_digits_*/seed1'
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f'{first}/epoch_1.pth')):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    # compare.py first: its jobs go on. Then one of them.
    process.kill()
    process.wait()
    kill_one_job(tmp_path)
    again = run(*COMPARE, 'mine.py', '--jobs', '2', cwd=tmp_path, timeout=240)
    assert 'failed' not in again.stdout
    expected = metrics(cwd)
    for key, curve in metrics(tmp_path).items():
        assert curve == expected[key]


def test_rows_share_stored_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = "del rows['plain']\noptions['train_dataloader.dataset.indices'] = 70\n"
    (tmp_path / 'mine.py').write_text(SUITE.replace('[0, 1]', '[0]') + changes)
    command = ('compare', 'mine.py', '--cache-teacher', '2')
    call(*command, '--jobs', '1')
    assert '(3 of 3)' in capsys.readouterr().out
    (store,) = (tmp_path / 'work_dirs/compare/stored_logits').iterdir()
    assert (store / 'store' / 'view_0001.bin').stat().st_size == 70 * 48
    (line,) = results(tmp_path)['lines']
    assert line['name'] == 'DHKD' and list(line['results']) == ['0']
    (log,) = tmp_path.glob('work_dirs/compare/dhkd/*/seed0/compare.log')
    assert 'the teacher is not loaded' in log.read_text()
    call(*command, '--dry-run')
    assert '0 of 3 runs to do' in capsys.readouterr().out


def test_a_dry_run_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither data nor models, whose weights may come from a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('mmengine.registry.Registry.build', None)
    made = "prepare = {'made': ['dataset_converters/make_scenes.py', 'made']}\n"
    read = "options['train_dataloader.dataset.data_root'] = 'made'\n"
    (tmp_path / 'mine.py').write_text(SUITE + made + read)
    call('compare', 'mine.py', '--dry-run', '--cache-teacher', '2')
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith('made: made first, by ')
    assert first.endswith('make_scenes.py made')
    assert last == '6 of 6 runs to do; no run is done yet that would tell the time'
    assert [path.name for path in tmp_path.iterdir()] == ['mine.py']


def test_errors_come_before_the_first_run(tmp_path: Path) -> None:
    (tmp_path / 'bad.py').write_text(SUITE + "metric = 'mIoU'\n")
    result = attempt(*COMPARE, 'bad.py', cwd=tmp_path)
    assert result.returncode == 2
    message = "Row 'teacher' does not log 'mIoU'. Its evaluator logs accuracy/top1"
    assert message in result.stdout.splitlines()[-1]
    assert not (tmp_path / 'work_dirs').exists()
