"""Runs the command lines of the package, each in a process of its own."""

import importlib.util
import io
import json
import os
import runpy
import signal
import socket
import sys
from contextlib import redirect_stderr
from pathlib import Path
from subprocess import PIPE, STDOUT, CompletedProcess, Popen, TimeoutExpired
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / 'configs'
TRAIN = (sys.executable, REPO / 'tools' / 'train.py')
TEST = (sys.executable, REPO / 'tools' / 'test.py')
EXPORT = (sys.executable, REPO / 'tools' / 'model_converters' / 'export_student.py')


def attempt(
    *args: str | Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    timeout: float = 120,
) -> CompletedProcess[str]:
    """Run a command on the CPU. Its stdout holds both streams."""
    process = Popen(
        [str(arg) for arg in args],
        cwd=cwd,
        env={
            **os.environ,
            # The shell scripts call `python`.
            'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
            'CUDA_VISIBLE_DEVICES': '',
            'OMP_NUM_THREADS': '1',
            **(env or {}),
        },
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except TimeoutExpired:
        # A launcher ends its workers when it is asked to, not when it is killed.
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        raise AssertionError(f'{args} took over {timeout} s:\n{output}') from None
    return CompletedProcess(process.args, process.returncode, output)


def run(
    *args: str | Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    timeout: float = 120,
) -> CompletedProcess[str]:
    """Run a command that must succeed."""
    result = attempt(*args, cwd=cwd, env=env, timeout=timeout)
    assert result.returncode == 0, f'{result.args} failed:\n{result.stdout}'
    return result


def tool(name: str) -> ModuleType:
    """A script below tools, as a module."""
    spec = importlib.util.spec_from_file_location(
        Path(name).name, REPO / 'tools' / f'{name}.py'
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name: str, *args: str | Path) -> None:
    """Run a script below tools in this process, which saves the time of its imports."""
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with patch.object(sys, 'argv', [f'{name}.py', *map(str, args)]):
            tool(name).main()
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)


def last_words(name: str, *args: str | Path) -> str:
    """What a script below tools ends with at a mistake, run in this process."""
    path = str(REPO / 'tools' / f'{name}.py')
    on_sigterm = signal.getsignal(signal.SIGTERM)
    text = io.StringIO()
    try:
        with patch.object(sys, 'argv', [path, *map(str, args)]), redirect_stderr(text):
            runpy.run_path(path, run_name='__main__')
    except SystemExit as error:
        assert error.code == 2, text.getvalue()
        start = f'{Path(path).name}: error: '
        said = text.getvalue().rstrip()
        assert said.startswith(start), said
        return said.removeprefix(start)
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
    raise AssertionError(f'{name} did not fail')


def free_port() -> dict[str, str]:
    """Environment that gives the launcher a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return {'PORT': str(probe.getsockname()[1])}


def metrics_of(config: Path, checkpoint: Path, *args: str | Path, cwd: Path) -> dict:
    """What tools/test.py measures."""
    run(*TEST, config, checkpoint, '--out', 'metrics.json', *args, cwd=cwd)
    return json.loads((cwd / 'metrics.json').read_text())


# Datasets whose check sums are of the real files, and the ones without.
UNCHECKED = {
    'CIFAR100': 'make_cifar100_folder.SmallCIFAR100',
    'STL10': 'make_stl10_folder.SmallSTL10',
    'TinyImageNet': 'mmkd_logit.TinyImageNet',
}


def small(dataset: str, epochs: int = 1) -> dict[str, Any]:
    """Settings of a short run on a folder that looks like a dataset."""
    loaders = {
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val')
        for key, value in (('num_workers', 0), ('dataset.type', UNCHECKED[dataset]))
    }
    logger = {'default_hooks.logger.interval': 1}
    return {'train_cfg.max_epochs': epochs, **loaders, **logger}


def with_tests() -> dict[str, str]:
    """Environment in which the modules beside the tests are found."""
    path = [REPO / 'tests', Path(__file__).parent, os.environ.get('PYTHONPATH', '')]
    return {'PYTHONPATH': os.pathsep.join(map(str, filter(None, path)))}


def train_small(
    name: str, cwd: Path, dataset: str, *options: str | Path, epochs: int = 1
) -> Path:
    """Train a config on a small dataset; return the work dir that the tool chooses."""
    settings = (f'{key}={value}' for key, value in small(dataset, epochs).items())
    config = CONFIGS / f'{name}.py'
    run(
        *(*TRAIN, config, '--cfg-options', *settings, *options),
        cwd=cwd,
        env=with_tests(),
    )
    return cwd / 'work_dirs' / name


def scalars(work_dir: Path, key: str) -> list[float]:
    """All values that the latest run in a work dir logged under a key."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    logs = map(json.loads, newest.read_text().splitlines())
    return [log[key] for log in logs if key in log]


def load(checkpoint: Path) -> dict[str, Any]:
    """What a file of mmengine's own holds; it is trusted."""
    return torch.load(checkpoint, map_location='cpu', weights_only=False)


def assert_same(got: Any, expected: Any, atol: float = 0.0) -> None:
    """Compare nested dicts and lists of tensors and plain values."""
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(got, expected, rtol=0, atol=atol)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key], atol)
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for pair in zip(got, expected):
            assert_same(*pair, atol)
    else:
        assert got == expected
