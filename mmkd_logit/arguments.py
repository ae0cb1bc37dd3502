"""Command-line arguments that the tools share.

Imports nothing but the standard library: ``--help`` must not wait for the stack.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmkd_logit.entry_point import is_first_process

_PICTURES = '.png', '.pdf', '.svg'


class Parser(argparse.ArgumentParser):
    """Parser of a tool, with ``--traceback``; only the first process prints.

    Args:
        description (str, optional): Docstring of the tool.
    """

    def __init__(self, description: str | None = None) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument(
            '--traceback',
            action='store_true',
            help='also show where in the code an error was raised',
        )

    def _print_message(self, message: str, file: Any = None) -> None:
        if is_first_process():
            super()._print_message(message, file)


class KeyValues(argparse.Action):
    """Collects ``KEY=VALUE`` arguments in a dict, parsed as mmengine does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the values of one option."""
        options = dict(getattr(namespace, self.dest) or {})
        for text in values:
            key, equals, value = text.partition('=')
            if not key or not equals:
                parser.error(f'{option_string} {text}: write KEY=VALUE.')
            try:
                options[key] = parse_value(value)
            except AssertionError as error:  # brackets that do not match
                parser.error(f'{option_string} {text}: {error}')
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Parse a value as mmengine does: a number, a boolean, a list, a tuple, or text.

    Args:
        text (str): Such as ``'0.1'``, ``'[1,2]'`` or ``'True'``.

    Returns:
        Any: The value.
    """
    from mmengine.config import DictAction

    return DictAction._parse_iterable(text)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints; defaults to work_dirs/ and the path of '
        'the config below configs/, or else its folder and name',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help='override settings of the config, such as '
        'optim_wrapper.optimizer.lr=0.05; lists as key="[a,b]", without spaces',
    )
    parser.add_argument(
        '--print-config',
        action='store_true',
        help='print the whole config, with the overrides, and do nothing else',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    )
    # Older launchers pass the rank as an argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``.

    Args:
        parser (argparse.ArgumentParser): The tool's parser.
    """
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('LABEL', 'CONFIG', 'CHECKPOINT'),
        help='a plain model, or a distiller, whose student is used; with the word '
        'teacher instead of a checkpoint, its teacher; can be given several times, '
        'the teacher first',
    )


def add_samples_argument(parser: argparse.ArgumentParser, samples: int) -> None:
    """Add ``--samples``.

    Args:
        parser (argparse.ArgumentParser): The tool's parser.
        samples (int): Default number of images.
    """
    parser.add_argument(
        '--samples',
        type=_at_least_2,
        default=samples,
        metavar='N',
        help='maximum number of images, drawn at random from the validation set, the '
        f'same for all models; defaults to {samples}',
    )


def _at_least_2(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(
            f'must be an integer of 2 or more, but got {text!r}'
        )
    return int(text)


def positive(text: str) -> int:
    """Parse an integer of 1 or more on a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be 1 or more, but got {text!r}')
    return int(text)


def picture_path(text: str) -> Path:
    """Parse the path of a picture on a command line.

    Args:
        text (str): The argument.

    Returns:
        Path: A file in an existing folder.

    Raises:
        argparse.ArgumentTypeError: If the folder does not exist, or the suffix is not
            that of a picture.
    """
    path = Path(text)
    if path.suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(
            f'{text!r} must end with one of {", ".join(_PICTURES)}.'
        )
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder {path.parent} does not exist.')
    return path
