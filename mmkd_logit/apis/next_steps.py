"""The last lines of a run: where its files are, and which commands to run next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import join

SEEDS = ('--seeds', '0', '1', '2')


def next_steps(
    tools: Path,
    config: str | Path,
    weights: Path,
    log: Path,
    picture: Path | None,
    again: str | Path | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Describe where the files of a finished run are, and which commands to run next.

    Args:
        tools (Path): Folder of the tools, as the user names it.
        config (str | Path): Config of the run as dumped by mmengine, with the overrides
            from the command line and the test data.
        weights (Path): The student, or the checkpoint of a plain model.
        log (Path): The log.
        picture (Path, optional): The picture, if there is one.
        again (str | Path, optional): Config to train with several seeds. Defaults to
            None: no such command is suggested.

    Returns:
        str: One line per file or command.
    """
    config, weights, log = _short(config), _short(weights), _short(log)
    is_student = weights.name.startswith('student')
    test = tools / 'test.py', config, weights
    export = tools / 'model_converters' / 'export_onnx.py', config, weights
    lines = {'the student' if is_student else 'the checkpoint': str(weights)}
    if metrics:
        lines['its last validation'] = ', '.join(
            f'{name} {value:.2f}' for name, value in metrics.items()
        )
    lines['its log'] = str(log)
    if picture is not None:
        lines['the picture'] = str(_short(picture))
    lines['to test it'] = _command(*test)
    lines['to run it without torch'] = _command(
        *export, weights.with_suffix('.onnx'), '--preprocess'
    )
    if again is not None:
        several = tools / 'compare.py', '--configs', again, *SEEDS
        lines['to train on several seeds'] = _command(*several)
    return '\n'.join(f'{what}: {text}' for what, text in lines.items())


def _short(path: str | Path) -> Path:
    """Return a path relative to the current folder if it is inside."""
    whole = Path(path).absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def _command(*words: str | Path) -> str:
    return join(['python', *map(str, words)])
