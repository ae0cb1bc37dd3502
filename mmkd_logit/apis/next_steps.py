"""What the tools say last: where things are, and what to type next."""

from __future__ import annotations

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
) -> str:
    """Tell where a finished run has left its parts, and how to go on.

    Args:
        tools (Path): Folder of the tools, as the user names it.
        config (str | Path): Config of the run, as mmengine has dumped it: with all that
            the command line overrode, and the data to test on.
        weights (Path): The student, or the checkpoint of a plain model.
        log (Path): The log.
        picture (Path, optional): The picture, if there is one.
        again (str | Path, optional): Config that was trained, to train it on several
            seeds. Defaults to None: this is not proposed.

    Returns:
        str: A line for each.
    """
    config, weights, log = _short(config), _short(weights), _short(log)
    is_student = weights.name.startswith('student')
    test = tools / 'test.py', config, weights
    export = tools / 'model_converters' / 'export_onnx.py', config, weights
    lines = {'the student' if is_student else 'the checkpoint': str(weights)}
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
    """The path from here, of what is below."""
    whole = Path(path).absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def _command(*words: str | Path) -> str:
    return join(['python', *map(str, words)])
