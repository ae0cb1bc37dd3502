"""Two processes of a tool end as one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TOOL = """
import os, sys, time
from pathlib import Path
from mmkd_logit.entry_point import resumable, run_tool

def main():
    rank = os.environ['RANK']
    with resumable(lambda: 'Stopped. The same command continues.'):
        if rank == '1' and sys.argv[1] == 'mistake.py':
            Path('nowhere', 'x').write_text('')
        Path(f'started{rank}').touch()
        time.sleep(60)

run_tool(main)
"""


def start(argument: str, cwd: Path) -> subprocess.Popen[str]:
    (cwd / 'tool.py').write_text(TOOL)
    launch = (sys.executable, '-m', 'mmkd_logit.launch', '--standalone')
    return subprocess.Popen(
        [*launch, '--nproc_per_node=2', 'tool.py', argument],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''},
    )


def test_the_mistake_of_one_process_is_the_last_text(tmp_path: Path) -> None:
    process = start('mistake.py', tmp_path)
    output, _ = process.communicate(timeout=50)
    assert process.returncode == 2
    path = Path('nowhere', 'x')
    said = f"[Errno 2] No such file or directory: '{path}'"
    assert output == f'tool.py: error: mistake.py: {said}\n'


def test_sigterm_says_how_to_go_on(tmp_path: Path) -> None:
    process = start('none', tmp_path)
    deadline = time.monotonic() + 50
    while not all((tmp_path / f'started{rank}').exists() for rank in '01'):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=50)
    assert process.returncode == 143
    assert output == 'Stopped. The same command continues.\n'
