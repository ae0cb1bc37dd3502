"""How the tools end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmkd_logit import entry_point
from mmkd_logit.entry_point import resumable, run_tool


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Command line and signals of a tool."""
    monkeypatch.setattr('sys.argv', ['tools/train.py', 'mine.py'])
    monkeypatch.setattr(entry_point, '_received', [])
    signals = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in signals]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in zip(signals, before):
        signal.signal(number, handler)


def mistake() -> None:
    # Our own code raises as this function would if it were there.
    from mmkd_logit.functional._checks import check_positive

    check_positive('losses.kd.tau', -1)


def bug() -> None:
    from mmkd_logit.flat import difference

    difference(1, 2)  # type: ignore[arg-type]


def ended(main: Callable[[], Any]) -> int:
    with pytest.raises(SystemExit) as end:
        run_tool(main)
    return end.value.code  # type: ignore[return-value]


def test_exit_codes(capfd: pytest.CaptureFixture[str]) -> None:
    assert [ended(lambda: None), ended(lambda: 0), ended(lambda: 1)] == [0, 0, 1]
    assert capfd.readouterr() == ('', '')


BLOCK = (
    'train.py: error: mine.py: losses.kd.tau must be a finite number above 0, but got '
    '-1.\n'
)


def test_a_mistake_is_one_block(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(mistake) == 2
    assert capfd.readouterr() == ('', BLOCK)


def test_the_config_is_named_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        Path('mine.py').read_text()

    assert ended(main) == 2
    said = "train.py: error: [Errno 2] No such file or directory: 'mine.py'\n"
    assert capfd.readouterr().err == said
    monkeypatch.setattr('sys.argv', ['compare.py', '--configs', 'a.py', 'b.py'])
    assert ended(mistake) == 2
    assert capfd.readouterr().err.startswith('compare.py: error: losses.kd.tau must')


def test_a_bug_keeps_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(bug) == 1
    said = capfd.readouterr().err
    assert said.startswith('Traceback (most recent call last):\n')
    assert said.endswith("TypeError: 'int' object is not a mapping\n")


def test_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('sys.argv', ['train.py', 'mine.py', '--traceback'])
    assert ended(mistake) == 2
    said = capfd.readouterr().err
    assert said.startswith('Traceback (most recent call last):\n')
    assert said.endswith(f'\n{BLOCK}')


@pytest.mark.parametrize('work', [mistake, bug])
def test_a_launched_process_leaves_it_to_the_launcher(
    work: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'error.json'
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(path))
    handler = signal.getsignal(signal.SIGTERM)
    assert ended(work) == (2 if work is mistake else 1)
    assert capfd.readouterr() == ('', '')
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    message: Any = ProcessFailure(0, 1, 2, str(path)).message
    assert message['message'] == message['extraInfo']['py_callstack']
    said = json.loads(path.read_text())['message']['message']
    assert said == BLOCK.strip() if work is mistake else said.startswith('Traceback')
    # It ends at once where another process has failed.
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize('rank', ['0', '1'])
def test_signals_say_how_to_go_on(
    number: signal.Signals,
    code: int,
    rank: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended_children = []

    def main() -> None:
        with resumable(lambda: 'Stopped. The same command continues.'):
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)  # a second time, which is ignored
                ended_children.append(1)

    monkeypatch.setenv('RANK', rank)
    assert ended(main) == code
    assert ended_children == [1]
    said = 'Stopped. The same command continues.\n' if rank == '0' else ''
    assert capfd.readouterr() == (said, '')


def test_what_a_signal_breaks_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A worker process of a data loader that got the same signal, for example."""

    def main() -> None:
        with resumable(lambda: 'Stopped here.'):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                raise RuntimeError('DataLoader worker was killed') from None

    assert ended(main) == 143
    assert capfd.readouterr() == ('Stopped here.\n', '')


def test_errors_pass_through() -> None:
    with (
        pytest.raises(ValueError, match='losses.kd.tau'),
        resumable(lambda: 'Stopped.'),
    ):
        mistake()
